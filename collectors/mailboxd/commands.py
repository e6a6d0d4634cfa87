"""The commands that have a series of their own; all others, and whatever else a file may name, are ``other``.

The lists are closed, since the names come out of files that clients have a part in. Of SOAP they hold what the web
client, mobile devices, the administration console and ZCS's own programs ask for; what an action does to an item
(``MsgActionRequest.read``) is left out, as are the filters of LDAP searches (``SEARCH_ACCOUNT_BY_NAME``).
"""

from collections.abc import Mapping

OTHER = "other"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SOAP = frozenset(
    f"{name}Request"
    for name in _words("""
        Auth EndSession GetInfo GetAccountInfo NoOp Sync Batch Search SearchConv SearchAction GetMsg GetConv GetItem
        GetMsgMetadata GetFolder CreateFolder GetTag CreateTag SendMsg SaveDraft AddMsg CheckSpelling AutoComplete
        GetMiniCal GetAppointment GetApptSummaries GetRecur CreateAppointment ModifyAppointment CancelAppointment
        CreateTask ModifyTask GetTask SendInviteReply CounterAppointment DismissCalendarItemAlarm GetFreeBusy
        GetWorkingHours GetContacts CreateContact ModifyContact GetDistributionList GetPrefs ModifyPrefs
        ModifyProperties GetIdentities GetSignatures GetFilterRules ModifyFilterRules GetDataSources ImportData
        GetShareInfo GetRights ChangePassword SearchGal AutoCompleteGal SyncGal CreateWaitSet WaitSet
        DestroyWaitSet MsgAction ConvAction ItemAction FolderAction TagAction ContactAction
        GetAccount CreateAccount ModifyAccount DeleteAccount SetPassword SearchDirectory SearchAccounts DelegateAuth
        GetDomain GetAllDomains GetServer GetAllServers GetCos GetAllCos GetConfig GetAllConfig GetMailbox
        GetAllMailboxes GetQuotaUsage GetServiceStatus GetServerStats GetSessions GetMailQueue GetMailQueueInfo
        ReIndex FlushCache Backup AdminCreateWaitSet AdminWaitSet AdminDestroyWaitSet
    """)
)
_IMAP = _words("""
    APPEND AUTHENTICATE CAPABILITY CHECK CLOSE COPY CREATE DELETE DELETEACL ENABLE EXAMINE EXPUNGE FETCH GETACL
    GETQUOTA GETQUOTAROOT ID IDLE LIST LISTRIGHTS LOGIN LOGOUT LSUB MYRIGHTS NAMESPACE NOOP RENAME SEARCH SELECT
    SETACL SORT STARTTLS STATUS STORE SUBSCRIBE THREAD UID UNSELECT UNSUBSCRIBE XLIST
""")
_POP3 = _words("AUTH CAPA DELE LIST NOOP PASS QUIT RETR RSET STAT STLS TOP UIDL USER XOIP")
_SYNC = _words("""
    FolderCreate FolderDelete FolderSync FolderUpdate GetAttachment GetItemEstimate ItemOperations MeetingResponse
    MoveItems Options Ping Ping_after_suspend Ping_before_suspend Provision ResolveRecipients Search SendMail Settings
    SmartForward SmartReply Sync ValidateCert
""")
_LDAP = _words("""
    CLOSE_CONN COMPARE CREATE_ENTRY DELETE_ENTRY GET_CONN GET_ENTRY GET_SCHEMA MODIFY_ATTRS MODIFY_DN OPEN_CONN
    REL_CONN SEARCH SET_PASSWORD TEST_AND_MODIFY_ATTRS
""")

COMMANDS: Mapping[str, frozenset[str]] = {
    "soap": _SOAP,
    "imap": _IMAP,
    "imapd": _IMAP,
    "pop3": _POP3,
    "sync": _SYNC,
    "ldap": _LDAP,
    "sql": frozenset(),
}
"""By protocol; each is the name of the file that tells of it."""

MOST_SERIES = 2 * sum(len(names) + 1 for names in COMMANDS.values())
"""Count and sum of every command."""


def command_label(protocol: str, command: str) -> str:
    """Return the label for a command as its file names it."""
    if protocol == "soap":
        command = command.partition(".")[0]  # MsgActionRequest.read
    elif protocol == "ldap" and command.startswith("SEARCH_"):
        command = "SEARCH"
    return command if command in COMMANDS[protocol] else OTHER
