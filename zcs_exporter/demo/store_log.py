"""What mailboxd writes to mailbox.log: ordinary work, a few complaints with their stack traces, and its end."""

from itertools import count, cycle

from zcs_exporter.demo.logs import MAILBOX, Logs

VERSION = "10.1.5_GA_4652"

_UNREACHABLE = (
    "com.zimbra.common.service.ServiceException: resource unreachable: feed",
    "ExceptionId:ScheduledTask-3:1709371231402:9f31c8f6d1b0a7e2",
    "Code:service.RESOURCE_UNREACHABLE",
    "\tat com.zimbra.common.service.ServiceException.RESOURCE_UNREACHABLE(ServiceException.java:292)",
    "\tat com.zimbra.cs.datasource.RssImport.importData(RssImport.java:98)",
    "\tat com.zimbra.cs.datasource.DataSourceManager.importData(DataSourceManager.java:301)",
    "\tat java.base/java.util.concurrent.ThreadPoolExecutor$Worker.run(ThreadPoolExecutor.java:635)",
    "Caused by: java.net.ConnectException: Connection timed out",
    "\tat java.base/java.net.PlainSocketImpl.socketConnect(Native Method)",
    "\t... 12 more",
)
_CONVERSION = (
    "com.zimbra.cs.convert.ConversionException: extraction failed",
    "\tat com.zimbra.cs.mime.handler.ConverterHandler.getContentImpl(ConverterHandler.java:84)",
    "\tat com.zimbra.cs.index.LuceneIndex.addDocument(LuceneIndex.java:214)",
    "Caused by: java.util.zip.ZipException: invalid stored block lengths",
    "\t... 9 more",
)
_CALENDAR = (
    "net.fortuna.ical4j.data.ParserException: Error at line 14: Expected [VCALENDAR], read [VEVENT]",
    "\tat net.fortuna.ical4j.data.CalendarParserImpl.assertToken(CalendarParserImpl.java:612)",
    "\tat com.zimbra.cs.mailbox.calendar.Invite.createFromCalendar(Invite.java:1440)",
)
_COMPLAINTS = (
    # Level, thread, component, message, what follows.
    ("WARN", "ScheduledTask-3", "datasource", "Unable to import feed https://news.example.net/rss", _UNREACHABLE),
    ("WARN", "Index-2", "index", "Unable to extract text of attachment report.odt", _CONVERSION),
    ("ERROR", "LmtpServer-11", "calendar", "Unable to parse iCalendar object", _CALENDAR),
    ("WARN", "ScheduledTask-5", "datasource", "Unable to import feed https://blog.example.org/atom", _UNREACHABLE),
)
_OUT_OF_MEMORY = (
    "java.lang.OutOfMemoryError: Java heap space",
    "\tat java.base/java.util.Arrays.copyOf(Arrays.java:3745)",
    "\tat com.zimbra.cs.service.formatter.ArchiveFormatter.saveCallback(ArchiveFormatter.java:931)",
)
_SOAP = ("SearchRequest", "GetMsgRequest", "NoOpRequest", "MsgActionRequest", "SendMsgRequest")
_IMAP = ("SELECT", "UID", "FETCH", "NOOP", "STATUS")


class StoreLog:
    """Writes what mailboxd writes."""

    def __init__(self, logs: Logs, host: str, address: str) -> None:
        self._logs = logs
        self._host = host
        self._address = address
        self._requests, self._commands, self._complaints = cycle(_SOAP), cycle(_IMAP), cycle(_COMPLAINTS)
        self._count = count(700)

    def soap(self, account: str, client: str, milliseconds: int) -> None:
        """A request of the web client."""
        number, request = next(self._count), next(self._requests)
        thread = f"qtp1068934215-{number}:https://{self._host}/service/soap/{request}"
        context = (
            f"name={account};mid=12;oip={client};port={40_000 + number % 20_000};"
            f"ua=ZimbraWebClient - FF122 (Linux)/{VERSION};soapId={number:08x};"
        )
        self._write("INFO ", thread, context, "soap", f"{request} elapsed={milliseconds}")

    def imap(self, account: str, client: str, milliseconds: int) -> None:
        """A command over IMAP."""
        number = next(self._count)
        context = f"name={account};ip={self._address};oip={client};via={self._address}(nginx/1.20.0);cid={number};"
        self._write(
            "INFO ", f"ImapSSLServer-{number}", context, "imap", f"{next(self._commands)} elapsed={milliseconds}"
        )

    def delivery(self, sender: str, account: str, size: int) -> None:
        """A message that comes in over LMTP."""
        number = next(self._count)
        thread = f"LmtpServer-{number}"
        text = f"Delivering message: size={size} bytes, nrcpts=1, sender={sender}, msgid=<{number}@example.net>"
        self._write("INFO ", thread, f"ip={self._address};", "lmtp", text)
        text = f"Adding Message: id={number}, Message-ID=<{number}@example.net>, parentId=-1, folderId=2."
        self._write("INFO ", thread, f"name={account};mid=12;ip={self._address};", "mailop", text)

    def complaint(self, account: str) -> None:
        """Something that a healthy server complains of now and then."""
        level, thread, component, message, rest = next(self._complaints)
        self._write(f"{level:5}", thread, f"name={account};mid=12;", component, message, *rest)

    def slow(self, account: str, client: str) -> None:
        """A request that a struggling server was slow to answer."""
        context = f"name={account};mid=12;oip={client};"
        message = "Slow SOAP request (start=1709371224210):"
        self._write("WARN ", f"qtp1068934215-{next(self._count)}", context, "soap", message, "<SearchRequest/>")

    def out_of_memory(self, account: str) -> None:
        """An import that wanted more memory than there is."""
        thread = f"qtp1068934215-{next(self._count)}:https://{self._host}/home/~/?fmt=tgz"
        self._write("ERROR", thread, f"name={account};mid=12;", "misc", "Import of an archive failed", *_OUT_OF_MEMORY)

    def _write(self, level: str, thread: str, context: str, component: str, message: str, *rest: str) -> None:
        self._logs.java(MAILBOX, level, thread, context, component, message, *rest)
