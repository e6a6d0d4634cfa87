import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.formats.audit_log import (
    CAUSES,
    OPERATIONS,
    PROTOCOL_NAMES,
    Kind,
    Login,
    classify_reason,
    directory_cause,
    parse_audit_line,
    parse_context,
    parse_login,
    sort_audit_lines,
)

SOAP = (
    b"2024-03-02 10:20:33,901 WARN  [qtp1068934215-512:https://mail.example.com:443/service/soap/AuthRequest] "
    b"[oip=203.0.113.9;ua=zclient/10.0.8_GA_4518;soapId=4e5e1bb3;] security - cmd=Auth; account=ann@example.com; "
    b"protocol=soap; error=authentication failed for [ann@example.com], invalid password;"
)
IMAP = (
    b"2024-03-02 10:20:40,015 WARN  [ImapSSLServer-7] [ip=10.0.0.5;oip=198.51.100.23;via=10.0.0.5(nginx/1.20.0);] "
    b"security - cmd=Auth; account=bob@example.com; protocol=imap; "
    b"error=authentication failed for [bob], invalid password;"
)
SASL = (
    b"2024-03-02 10:20:44,250 WARN  [qtp1:https:https://mail.example.com:7073/service/admin/soap/] "
    b"[name=eve@example.com;oip=203.0.113.5;oport=51288;] security - cmd=Auth; account=eve@example.com; protocol=soap; "
    b"error=authentication failed for [eve], invalid password;"
)
OLD = (
    b"2013-04-24 00:23:23,118 WARN  [btpool0-1042] [ip=10.0.0.5;oip=203.0.113.9;ua=ZimbraWebClient - FF20 (Win);] "
    b"security - cmd=Auth; account=ann@example.com; protocol=soap; "
    b"error=authentication failed for [ann], invalid password;"
)
POP_OK = (
    b"2015-03-26 21:51:36,505 INFO  [Pop3Server-13] [ip=172.16.0.3;oip=203.0.113.196;] security - cmd=Auth; "
    b"account=j@example.com; protocol=pop3;"
)


def login(line: bytes) -> Login:
    parsed = parse_audit_line(line)
    assert parsed is not None
    return parse_login(parsed)


def sorted_lines(data: bytes) -> tuple[Counter[str], list[bytes]]:
    successes, entries, _ = sort_audit_lines(data)
    return successes, [parts[0] for parts in entries]


def entry(message: bytes, level: bytes = b"WARN ", thread: bytes = b"qtp1-5", context: bytes = b"") -> bytes:
    return b"2024-03-02 10:20:33,901 " + level + b" [" + thread + b"] [" + context + b"] security - " + message


@pytest.mark.parametrize(
    ("line", "account", "protocol", "port"),
    [
        (SOAP, b"ann@example.com", "soap", 0),
        (IMAP, b"bob@example.com", "imap", 0),
        (SASL, b"eve@example.com", "admin", 7073),
        (OLD, b"ann@example.com", "soap", 0),
        (IMAP.replace(b"=imap", b"=pop3"), b"bob@example.com", "pop3", 0),
    ],
)
def test_failures_of_every_release_are_read(line: bytes, account: bytes, protocol: str, port: int) -> None:
    assert login(line) == Login(Kind.FAILURE, b"Auth", account, protocol, "bad_password", port)


def test_the_parts_of_a_line_are_taken_apart() -> None:
    line = parse_audit_line(IMAP)
    assert line is not None
    assert (line.stamp, line.level, line.thread) == (b"2024-03-02 10:20:40", b"WARN", b"ImapSSLServer-7")
    assert parse_context(line.context) == {
        b"ip": b"10.0.0.5",
        b"oip": b"198.51.100.23",
        b"via": b"10.0.0.5(nginx/1.20.0)",
    }
    assert not line.imitated


def test_semicolons_in_values_are_doubled() -> None:
    context = b"name=ann;ua=a;;oip=192.0.2.66;;b;;;oip=203.0.113.9;"
    assert parse_context(context) == {b"name": b"ann", b"ua": b"a;oip=192.0.2.66;b;", b"oip": b"203.0.113.9"}


def test_an_empty_context_ends_at_once() -> None:
    line = parse_audit_line(entry(b"cmd=Auth; account=ann@example.com;"))
    assert line is not None
    assert (line.context, line.message) == (b"", b"cmd=Auth; account=ann@example.com;")


@pytest.mark.parametrize(
    "agent",
    [
        b"x] security - y",
        b"x;;] security - cmd=Auth; account=ann@example.com; protocol=soap;",
        b"[] security - cmd=Auth; account=ann@example.com; protocol=soap;",
        b"x;;;;] security - y",
        b"] security - ] security - ] security - ",
    ],
)
def test_a_user_agent_cannot_end_the_context(agent: bytes) -> None:
    # The agent as ZCS writes it: semicolons already doubled but for those of the imitated message.
    escaped = agent.replace(b";;", b";").replace(b";", b";;")
    line = parse_audit_line(SOAP.replace(b"ua=zclient/10.0.8_GA_4518", b"ua=" + escaped))
    assert line is not None
    assert line.imitated
    assert parse_login(line).kind is Kind.FAILURE
    assert parse_context(line.context)[b"oip"] == b"203.0.113.9"


def test_a_value_that_ends_in_semicolons_still_ends_the_context() -> None:
    line = parse_audit_line(entry(b"cmd=X;", context=b"ua=x;;;"))
    assert line is not None
    assert line.message == b"cmd=X;"


def test_a_typed_name_that_imitates_an_entry_is_noticed() -> None:
    line = parse_audit_line(SOAP.replace(b"[ann@example.com]", b"[x] security - cmd=Auth; y]"))
    assert line is not None
    assert line.imitated
    assert parse_login(line).kind is Kind.FAILURE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"invalid password;", "bad_password"),
        (b"empty password;", "bad_password"),
        (b"account lockout;", "locked"),
        (b"account(or domain) status is locked;", "locked"),
        (b"account(or domain) status is closed;", "closed"),
        (b"account(or domain) status is pending;", "closed"),
        (b"missing userPassword;", "other"),
        (b"external LDAP auth failed, [LDAP: error code 49 - data 52e];", "external"),
        (b"preauth mismatch;", "preauth"),
        (b"preauth timestamp is too old, server time: 1, preauth timestamp: 2;", "preauth"),
        (b"cannot obtain principal for kerberos5 auth;", "external"),
        (b"handler x for custom auth for domain example.com not found;", "external"),
        (b"no two-factor code provided;", "two_factor"),
        (b"invalid TOTP code;", "two_factor"),
        (b"account not found;", "no_account"),
        (b"alias login not enabled.;", "other"),
        (b"", "other"),
    ],
)
def test_reasons_come_from_a_closed_set(text: bytes, reason: str) -> None:
    assert classify_reason(text) == reason
    line = entry(b"cmd=Auth; account=a@example.com; protocol=imap; error=authentication failed for [a], " + text)
    assert login(line).reason == reason


@pytest.mark.parametrize(
    ("message", "level", "kind"),
    [
        (
            b"cmd=Auth; account=a@example.com; protocol=soap; error=account is in maintenance mode;",
            b"WARN ",
            Kind.IGNORED,
        ),
        (b"cmd=Auth; account=a@example.com; protocol=soap; error=must change password;", b"WARN ", Kind.IGNORED),
        (
            b"cmd=Auth; account=a@example.com; error=recovery code mismatch - account lockout;",
            b"WARN ",
            Kind.RECOVERY_REFUSED,
        ),
        (b"cmd=Auth; account=a@example.com; error=recovery code mismatch;", b"WARN ", Kind.RECOVERY_REFUSED),
        (b"cmd=Auth; account=a@example.com; mode=recoveryCode;", b"INFO ", Kind.RECOVERY_USED),
        (b"cmd=Auth; account=a@example.com; mode=recoveryCode - account unlocked;", b"INFO ", Kind.RECOVERY_USED),
        (b"cmd=ModifyPrefs; account=a@example.com; zimbraPrefFoo=x;", b"INFO ", Kind.IGNORED),
        (b"cmd=AdminAuth; account=admin@example.com;", b"INFO ", Kind.IGNORED),
        (b"cmd=ModifyConfig; name=x; value=authentication failed for [x];", b"INFO ", Kind.OPERATION),
        (b"Suppressed password lockout.", b"INFO ", Kind.IGNORED),
        (b"Account is lockout, not updating failure time.", b"INFO ", Kind.IGNORED),
        (
            b"cmd=Auth; account=a@example.com; info=account re-activated from lockout status upon successful login;",
            b"INFO ",
            Kind.IGNORED,
        ),
        (b"cmd=DelegateAuth; accountId=1; accountName=a@example.com;", b"INFO ", Kind.OPERATION),
        (b"Error occurred during authentication: account not found for [x]. oip=192.0.2.1", b"INFO ", Kind.IGNORED),
        (
            b"cmd=Auth; account=a@example.com; error=account lockout due to too many failed logins;",
            b"INFO ",
            Kind.LOCKOUT,
        ),
        (b"cmd=PreAuth; account=a@example.com; admin=false;", b"INFO ", Kind.SUCCESS),
        (b"cmd=Auth; account=a@example.com; protocol=soap; newkey=1;", b"INFO ", Kind.SUCCESS),
        (
            b"cmd=PreAuth; account=a; admin=false; error=authentication failed for [a], preauth mismatch;",
            b"WARN ",
            Kind.FAILURE,
        ),
        (b"cmd=AdminAuth; account=a; error=authentication failed for [a];", b"WARN ", Kind.FAILURE),
        (b"cmd=Auth; account=a; protocol=soap; error=authentication failed for [a];", b"INFO ", Kind.UNREADABLE),
        (b"cmd=Auth; account=a; protocol=soap; authentication failed for a", b"WARN ", Kind.UNREADABLE),
        (b"authentication failed for somebody", b"WARN ", Kind.UNREADABLE),
    ],
)
def test_only_what_says_so_is_a_failure(message: bytes, level: bytes, kind: Kind) -> None:
    assert login(entry(message, level)).kind is kind


def test_an_unknown_account_is_a_failure_under_the_name_typed() -> None:
    message = b"Error occurred during authentication: authentication failed for [nobody]. Reason: account not found."
    thread = b"qtp1-5:https://mail.example.com:443/service/soap/AuthRequest"
    assert login(entry(message, b"INFO ", thread)) == Login(Kind.FAILURE, b"", b"nobody", "soap", "no_account")
    assert login(entry(message, b"INFO ", b"ImapServer-5")).protocol == "imap"


def test_the_administration_port_cannot_be_feigned_by_a_host_header() -> None:
    for host in (b"mail.example.com:7073", b"x:7073/service/admin/soap/?"):
        thread = b"qtp1-5:https://" + host + b"/service/soap/AuthRequest"
        assert login(
            SOAP.replace(b"qtp1068934215-512:https://mail.example.com:443/service/soap/AuthRequest", thread)
        ).port in (
            0,
            7073 if b"admin" in host else 0,
        )
    assert login(entry(b"cmd=Auth; account=a; protocol=soap;", b"INFO ", b"q:https://m:7073/service/soap/")).port == 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\tat com.zimbra.Foo(Foo.java:1)",
        b" " + SOAP,
        SOAP[1:],
        SOAP.replace(b" WARN  [", b" WARN ("),
        b"2024-03-02 10:20:33,901 WARN  [thread] [context=1;] other - cmd=Auth;",
        b"2024-03-02 10:20:33,901 WARN  [thread] [never closed security - cmd=Auth;",
        b"2024-03-02 10:20:33,901 WARN  [thread",
    ],
)
def test_other_lines_are_no_entries(line: bytes) -> None:
    assert parse_audit_line(line) is None


def test_plain_successes_are_counted_and_everything_else_is_handed_on() -> None:
    other = entry(b"cmd=ModifyPrefs; account=ann@example.com; a=b;", b"INFO ", context=b"name=ann;")
    odd = POP_OK.replace(b"oip=203.0.113.196;", b"ua=x] y;")
    admin = POP_OK.replace(b"Pop3Server-13", b"qtp1:https://m:7071/service/admin/soap/")
    lines = [POP_OK, SOAP, other, POP_OK, odd, admin, b"", b"continued", POP_OK.replace(b"=pop3", b"=im")]
    successes, rest = sorted_lines(b"".join(line + b"\n" for line in lines))
    assert successes == {"pop3": 2, "other": 1}
    assert rest == [SOAP, odd, admin, b"continued"]


def test_a_user_agent_cannot_make_a_success_look_like_another_operation() -> None:
    line = POP_OK.replace(b"oip=203.0.113.196;", b"ua=x;;] security - cmd=Foo;")
    assert sorted_lines(line + b"\n") == (Counter(), [line])
    assert login(line).kind is Kind.SUCCESS


@pytest.mark.parametrize(
    "broken",
    [
        b"2024-03-02 10:20:33,901 INFO  [thread] [context without an end",
        b"2024-03-02 10:20:33,901 INFO  [thread] [ip=10.0.0.5;] security - cmd=Auth; account=half\nx; protocol=pop3;",
        b"2024-03-02 10:20:33,901 INFO  [thread] [half\n;] security - cmd=Auth; account=ann; protocol=pop3;",
    ],
)
def test_a_broken_line_does_not_take_the_next_one_with_it(broken: bytes) -> None:
    successes, rest = sorted_lines(b"".join(line + b"\n" for line in (broken, POP_OK, SOAP, POP_OK)))
    told = Counter(login(line).protocol for line in rest if parse_audit_line(line) and login(line).kind is Kind.SUCCESS)
    assert (successes + told)["pop3"] == 2
    assert SOAP in rest


PIECES = st.sampled_from(
    [
        SOAP,
        IMAP,
        POP_OK,
        SASL,
        b"] security - ",
        b"] [",
        b";",
        b";;",
        b"[",
        b"]",
        b"cmd=Auth; ",
        b" error=",
        b"\n",
        b"\0",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=12), max_size=12).map(b"".join))
@settings(max_examples=2_000, deadline=None)
def test_any_bytes_are_read_and_fast_and_slow_ways_agree(data: bytes) -> None:
    data += b"\n"
    successes, rest = sorted_lines(data)

    def told(lines: list[bytes]) -> Counter[str]:
        parsed = [parse_audit_line(line) for line in lines]
        logins = [parse_login(line) for line in parsed if line is not None]
        return Counter(entry.protocol for entry in logins if entry.kind is Kind.SUCCESS)

    assert successes + told(rest) == told(data.split(b"\n"))


FAILURES = st.builds(
    lambda parts, place, junk: b"".join((*parts[:place], junk, *parts[place:])),
    st.just(
        (
            b"2024-03-02 10:20:33,901 WARN  [",
            b"qtp1:https://mail.example.com:443/service/soap/",
            b"] [",
            b"oip=203.0.113.9;",
            b"] security - ",
            b"cmd=Auth; account=ann@example.com;",
            b" protocol=soap;",
            b" error=authentication failed for [ann",
            b"]",
            b", invalid password",
            b";",
        )
    ),
    st.integers(0, 11),
    st.lists(PIECES | st.binary(max_size=6), max_size=3).map(b"".join),
)


@given(FAILURES)
@settings(max_examples=2_000, deadline=None)
def test_a_failure_is_read_the_same_in_the_quick_way_and_in_the_slow(line: bytes) -> None:
    for text, (stamp, thread, ip, oip, rest, account, protocol, why) in sort_audit_lines(line + b"\n")[1]:
        if not stamp:
            continue
        slow = parse_audit_line(text)
        assert slow is not None
        assert (slow.stamp, slow.level, slow.thread, slow.imitated) == (stamp, b"WARN", thread, False)
        context = parse_context(slow.context)
        assert (context.get(b"ip", b""), context.get(b"oip", b"")) == (ip, oip)
        assert slow.context.endswith(rest)
        expected = Login(Kind.FAILURE, b"Auth", account, "", classify_reason(why), cause=directory_cause(why))
        assert parse_login(slow)._replace(protocol="", port=0) == expected
        assert parse_login(slow).protocol in (PROTOCOL_NAMES.get(protocol, "other"), "admin")


def test_failures_of_every_release_are_read_in_the_quick_way() -> None:
    lines = [SOAP, IMAP, SASL, OLD]
    entries = sort_audit_lines(b"".join(line + b"\n" for line in lines))[1]
    assert [parts[0] for parts in entries] == lines
    assert all(parts[0] for _, parts in entries)
    assert [parts[2:4] for _, parts in entries] == [
        (b"", b"203.0.113.9"),
        (b"10.0.0.5", b"198.51.100.23"),
        (b"", b"203.0.113.5"),
        (b"10.0.0.5", b"203.0.113.9"),
    ]


def test_many_broken_lines_take_no_longer_than_their_length() -> None:
    line = b"2024-03-02 10:20:33,901 INFO  [thread without an end\n"
    data = line * (1_000_000 // len(line))
    started = time.process_time()
    assert len(sorted_lines(data)[1]) == data.count(b"\n")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "filler",
    [b"] security - ", b";] security - "[1:], b";", b"[", b"]", b"a=b;", b" a=b;", b"://", b"a", b";;] security - "],
)
def test_hostile_lines_of_64_kib_take_no_longer_than_their_length(filler: bytes) -> None:
    junk = filler * (65000 // len(filler))
    lines = [
        SOAP.replace(b"ua=zclient", b"ua=" + junk),
        SOAP.replace(b"AuthRequest", junk),
        SOAP.replace(b"[ann@example.com]", b"[" + junk + b"]"),
        entry(b"cmd=Auth; account=a;" + junk),
        entry(junk, b"INFO "),
        junk,
    ]
    started = time.process_time()
    for line in lines:
        for text in sorted_lines(line + b"\n")[1]:
            parsed = parse_audit_line(text)
            if parsed is not None:
                parse_login(parsed)
                parse_context(parsed.context)
    # A quadratic step over 65,000 characters takes minutes.
    assert time.process_time() - started < 10


AD = b"external LDAP auth failed, LDAP error: 80090308: LdapErr: AcceptSecurityContext error, "


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (AD + b"data 52e, v3839;", "bad_password"),
        (AD + b"data 525, v3839;", "no_account"),
        (b"external LDAP auth failed, [LDAP: error code 49 - 80090308: LdapErr: error, data 775, v1db1];", "locked"),
        (AD + b"data 999, v3839;", "other"),
        (b"external LDAP auth failed, invalid credentials;", "other"),
        (
            b"external LDAP auth failed, LDAP error: An error occurred while attempting to connect to server ad.test;",
            "unreachable",
        ),
        (b"external LDAP auth failed, ad.test:636; java.net.ConnectException: Connection refused;", "unreachable"),
        (b"LDAP error: The connection to server ldap.test:389 was closed; connect error;", "unreachable"),
        (b"invalid password;", ""),
        (b"data 52e, connection refused;", ""),
    ],
)
def test_what_a_directory_says_is_one_of_a_closed_set(text: bytes, cause: str) -> None:
    assert directory_cause(text) == cause
    assert cause in (*CAUSES, "")
    line = entry(b"cmd=Auth; account=a@example.com; protocol=imap; error=authentication failed for [a], " + text)
    assert login(line).cause == cause


def test_a_typed_name_cannot_be_a_directory_that_does_not_answer() -> None:
    typed = b"ann], external LDAP auth failed, connect error"
    message = (
        b"cmd=Auth; account=ann; protocol=imap; error=authentication failed for [" + typed + b"], invalid password;"
    )
    assert login(entry(message)) == Login(Kind.FAILURE, b"Auth", b"ann", "imap", "bad_password")
    message = b"cmd=Auth; account=ann; protocol=imap; error=authentication failed for [x] y], LDAP connect error;"
    assert login(entry(message)).cause == ""


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        (b"cmd=ModifyAccount; name=ann@example.com; zimbraMailQuota=secret;", b"ann@example.com"),
        (b"cmd=DelegateAuth; accountId=1; accountName=ann@example.com;", b"ann@example.com"),
        (b"cmd=ModifyConfig; zimbraSomething=secret; name=secret;", b""),
        (b"cmd=SetPassword; id=1; name=ann@example.com;", b"ann@example.com"),
    ],
)
def test_an_operation_names_what_it_is_about_and_nothing_else(message: bytes, subject: bytes) -> None:
    told = login(entry(message, b"INFO "))
    assert (told.kind, told.account) == (Kind.OPERATION, subject)


def test_every_operation_is_told_from_what_users_do() -> None:
    for name in OPERATIONS:
        line = entry(b"cmd=" + name.encode() + b"; name=x;", b"INFO ", b"btpool0-1042", b"name=admin@example.com;")
        assert sorted_lines(line + b"\n")[1] == [line], name
        assert login(line).kind is Kind.OPERATION
    for name in (b"ModifyPrefs", b"SendInvite", b"ChangePassword"):
        line = entry(b"cmd=" + name + b"; name=x;", b"INFO ", b"btpool0-1042", b"name=ann@example.com;")
        assert sorted_lines(line + b"\n")[1] == []


FORGED = (
    b"x] [oip=198.51.100.66;] security - cmd=Auth; account=victim@example.com; protocol=imap; "
    b"error=authentication failed for [victim], invalid password;"
)


@pytest.mark.parametrize(
    "forged", [FORGED, b"x] [", b"[] [", b"x] [a=b;] security - cmd=GrantRight;", b"] security - "]
)
def test_a_host_header_cannot_end_the_thread(forged: bytes) -> None:
    line = parse_audit_line(SOAP.replace(b"https://mail.example.com", b"https://" + forged))
    assert line is not None
    assert line.thread == b"qtp1068934215-512:https://" + forged + b":443/service/soap/AuthRequest"
    assert parse_context(line.context)[b"oip"] == b"203.0.113.9"
    assert parse_login(line) == Login(Kind.FAILURE, b"Auth", b"ann@example.com", "soap", "bad_password")
    assert line.imitated == (b"security" in forged)


def test_where_two_contexts_are_possible_nobody_is_accused() -> None:
    line = SOAP.replace(b"https://mail.example.com", b"https://x/" + FORGED)
    assert login(line) == Login(Kind.DOUBTFUL)
    assert login(line.replace(b" WARN  ", b" INFO  ")).kind is Kind.IGNORED


@pytest.mark.parametrize(
    "name",
    [
        b"admin",
        b"",
        b"a;oip=198.51.100.7;",
        b"x], LDAP error: connection refused",
        b"a; error=authentication failed for [a",
        b"a; error=authentication failed for [b], LDAP connect error; error=authentication failed for [a",
        FORGED,
    ],
)
def test_the_name_of_a_refused_administrator_is_known_whatever_it_holds(name: bytes) -> None:
    message = b"cmd=AdminAuth; account=" + name + b"; error=authentication failed for [" + name + b"];"
    told = login(entry(message, thread=b"qtp1:https://mail.example.com:7071/service/admin/soap/"))
    assert told == Login(Kind.FAILURE, b"AdminAuth", name, "admin", port=7071)


def test_a_refused_administrator_of_another_name_is_a_failure_with_no_reason() -> None:
    message = b"cmd=AdminAuth; account=a@example.com; error=authentication failed for [x], LDAP connect error];"
    assert login(entry(message)) == Login(Kind.FAILURE, b"AdminAuth", b"a@example.com", "admin")
    message = b"cmd=Auth; account=a;b; protocol=imap; error=authentication failed for [a;b], invalid password;"
    assert login(entry(message)) == Login(Kind.FAILURE, b"Auth", b"", "other")


@pytest.mark.parametrize("missing", [0, 60, 400])
@pytest.mark.parametrize(
    ("line", "protocol"), [(SOAP, "soap"), (IMAP, "imap"), (SASL, "admin"), (IMAP.replace(b"ImapSSL", b"Pop3"), "pop3")]
)
def test_a_refusal_that_a_long_user_agent_pushed_off_the_end_is_one(line: bytes, protocol: str, missing: int) -> None:
    head, _, tail = line.partition(b"] security - ")
    agent = b"ua=" + b"x;;" * 30_000
    cut = (head + agent)[: 65_536 - len(tail) - 14] + b";] security - " + tail
    parsed = parse_audit_line(cut[: len(cut) - missing] if missing else (head + agent)[:65_536])
    assert parsed is not None
    told = parse_login(parsed)
    assert (told.kind, told.protocol, told.port) == (Kind.FAILURE, protocol, 7073 if line is SASL else 0)
    assert parse_context(parsed.context)[b"oip"] == parse_context(head.rpartition(b"[")[2])[b"oip"]


def test_an_address_that_was_cut_is_not_believed() -> None:
    line = SOAP.replace(b"oip=203.0.113.9;", b"ip=10.0.0.5;oip=" + b"192.0.2.1, " * 6000)[:65_536]
    parsed = parse_audit_line(line)
    assert parsed is not None
    assert parse_context(parsed.context) == {b"ip": b"10.0.0.5"}
    assert parse_audit_line(line[:1000]) is None


def test_a_long_line_of_an_operation_is_no_refusal() -> None:
    line = entry(b"cmd=ModifyAccount; name=a; zimbraPrefMailSignature=" + b"x" * 70_000, b"INFO ")[:65_536]
    assert login(line).kind is Kind.OPERATION
    line = entry(b"cmd=ModifyPrefs; account=a; zimbraPrefMailSignature=" + b"x" * 70_000, b"INFO ")[:65_536]
    assert login(line).kind is Kind.IGNORED


def test_plain_successes_are_told_with_who_and_from_where() -> None:
    other = entry(b"cmd=ModifyPrefs; account=a@example.com;", b"INFO ", context=b"ip=192.0.2.1;")
    found = sort_audit_lines(POP_OK + b"\n" + other + b"\n" + SOAP + b"\n")
    assert found.logins() == [
        (b"2015-03-26 21:51:36", b"ip=172.16.0.3;oip=203.0.113.196;", b"j@example.com", b"pop3"),
    ]
