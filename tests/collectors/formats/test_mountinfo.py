import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.formats.mountinfo import Mount, MountTable, is_below, normal, parse_fstab, parse_mountinfo
from zcs_exporter.contract import CollectError, Reason

# As Linux 5.15 shows them, host names replaced.
REAL = r"""22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw,errors=remount-ro
95 28 253:1 / /opt/zimbra rw,relatime shared:47 - xfs /dev/mapper/vg0-zimbra rw,attr2,inode64,logbufs=8
98 95 0:52 / /opt/zimbra/backup rw,relatime shared:53 - nfs4 nas.example.com:/export/zimbra rw,vers=4.2,hard
101 28 8:17 / /mnt/old\040mails\011and\134more ro,relatime - ext4 /dev/sdb1 ro
"""


def table(text: str) -> MountTable:
    return MountTable(parse_mountinfo(text))


def test_each_field_is_read() -> None:
    assert parse_mountinfo(REAL)[3] == Mount(
        mount_id=98,
        parent_id=95,
        device_id="0:52",
        root="/",
        mountpoint="/opt/zimbra/backup",
        options=frozenset({"rw", "relatime"}),
        fstype="nfs4",
        source="nas.example.com:/export/zimbra",
        super_options=frozenset({"rw", "vers=4.2", "hard"}),
    )


def test_octal_escapes_are_the_characters_they_stand_for() -> None:
    assert parse_mountinfo(REAL)[4].mountpoint == "/mnt/old mails\tand\\more"


def test_escaped_bytes_make_one_character_together() -> None:
    [mount] = parse_mountinfo(r"1 0 8:1 / /mnt/caf\303\251 rw - ext4 /dev/sda1 rw")

    assert mount.mountpoint == "/mnt/café"


def test_a_name_that_is_not_utf_8_survives() -> None:
    [mount] = parse_mountinfo(b"1 0 8:1 / /mnt/\xff rw - ext4 /dev/sda1 rw".decode("utf-8", "surrogateescape"))

    assert mount.mountpoint.encode("utf-8", "surrogateescape") == b"/mnt/\xff"


def test_any_number_of_optional_fields_and_an_empty_source_are_understood() -> None:
    none, two = parse_mountinfo("1 0 8:1 / /a rw - tmpfs  rw\n2 0 8:2 / /b rw shared:1 master:2 - xfs /dev/sdb rw\n")

    assert (none.source, two.source) == ("", "/dev/sdb")


def test_only_a_newline_ends_a_line() -> None:
    [mount] = parse_mountinfo("1 0 8:1 / /mnt/\u2028x rw - ext4 /dev/sda1 rw\n")

    assert mount.mountpoint == "/mnt/\u2028x"


@pytest.mark.parametrize("line", ["nonsense", "x 0 8:1 / /a rw - ext4 /dev/sda rw", "1 0 8:1 / /a rw - ext4 /dev/sda"])
def test_a_line_that_breaks_the_format_is_named(line: str) -> None:
    with pytest.raises(CollectError, match="line 2") as caught:
        parse_mountinfo("1 0 8:1 / / rw - ext4 /dev/sda rw\n" + line + "\n")

    assert caught.value.reason is Reason.PARSE


@pytest.mark.parametrize(
    ("options", "super_options", "expected"),
    [
        ("rw", "rw", False),
        ("ro", "rw", True),
        ("rw", "ro", True),
        ("rw", "rw,emergency_ro", True),
        ("rw", "rw,errors=remount-ro", False),
    ],
)
def test_a_mount_is_read_only_by_its_own_or_its_file_systems_options(
    options: str, super_options: str, expected: bool
) -> None:
    [mount] = parse_mountinfo(f"1 0 8:1 / / {options} - ext4 /dev/sda {super_options}")

    assert mount.mounted_read_only is expected


def test_a_path_lies_in_the_deepest_mount_above_it() -> None:
    mounts = table(REAL)

    found = {
        path: mount.mountpoint
        for path in ("/", "/opt", "/opt/zimbra/store", "/opt/zimbra/backup/x", "/opt/zimbraX")
        if (mount := mounts.at(path))
    }

    assert found == {
        "/": "/",
        "/opt": "/",
        "/opt/zimbra/store": "/opt/zimbra",
        "/opt/zimbra/backup/x": "/opt/zimbra/backup",
        "/opt/zimbraX": "/",
    }


def test_a_mount_covered_by_a_later_one_is_not_visible() -> None:
    mounts = table(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 8:2 / /data rw - ext4 /dev/b rw\n"
        "3 2 8:3 / /data/store rw - ext4 /dev/c rw\n"
        "4 2 8:4 / /data rw - ext4 /dev/d rw\n"
    )

    assert [mount.source for mount in mounts.visible()] == ["/dev/a", "/dev/d"]
    assert mounts.at("/data/store") is mounts.mounts[3]


def test_of_two_mounts_on_one_place_the_later_is_on_top() -> None:
    mounts = table(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /data rw - ext4 /dev/b rw\n3 1 8:3 / /data rw - ext4 /dev/c rw\n"
    )

    assert [mount.source for mount in mounts.visible()] == ["/dev/a", "/dev/c"]


def test_mounts_that_are_their_own_parents_end_nothing() -> None:
    mounts = table(
        "1 1 0:1 / / rw - rootfs rootfs rw\n2 3 8:1 / /a rw - ext4 /dev/a rw\n3 2 8:2 / /a rw - ext4 /dev/b rw\n"
    )

    assert mounts.at("/b") is mounts.mounts[0]


def test_the_mounts_of_ten_thousand_containers_are_no_work() -> None:
    root = "1 0 8:1 / / rw - ext4 /dev/a rw\n"
    others = "".join(
        f"{number} 1 0:{number} / /var/lib/x/{number}/merged rw - overlay overlay rw\n" for number in range(2, 10_002)
    )
    mounts = table(root + others)
    before = time.process_time()

    assert len(mounts.visible()) == 10_001
    assert time.process_time() - before < 2


def test_fstab_tells_what_is_mounted_at_boot() -> None:
    text = r"""# <file system> <mount point>
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1
/dev/vg0/store /opt/zimbra/store/ xfs defaults,noatime 0 2
/dev/sdc1 /opt/zimbra/backup ext4 noauto,user 0 0
/dev/sdd1 /mnt/with\040blank
/dev/sde1 none swap sw 0 0
"""
    assert parse_fstab(text) == {
        "/": True,
        "/opt/zimbra/store": True,
        "/opt/zimbra/backup": False,
        "/mnt/with blank": True,
    }


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/a", "/", True), ("/", "/a", False)],
)
def test_below_means_path_components(path: str, directory: str, expected: bool) -> None:
    assert is_below(path, directory) is expected


def test_normal_paths_have_no_doubled_or_trailing_slash() -> None:
    assert [normal(path) for path in ("/a//b/", "//", "/a/./b", "/a/../b")] == ["/a/b", "/", "/a/b", "/b"]


@settings(max_examples=2_000, deadline=None)
@given(
    st.text()
    | st.lists(st.sampled_from([*REAL.splitlines(), "1 1 8:1 / /a rw - x y z", r"\400\377 - "])).map("\n".join)
)
@example("2 3 8:1 / /a rw - a b c\n3 2 8:1 / /a rw - a b c")
def test_any_text_is_mounts_or_a_parse_error(text: str) -> None:
    try:
        mounts = table(text)
    except CollectError as exc:
        if exc.reason is not Reason.PARSE:
            raise
    else:
        assert set(mounts.visible()) <= set(mounts.mounts)


@settings(max_examples=2_000, deadline=None)
@given(st.text())
def test_any_text_is_some_fstab(text: str) -> None:
    assert all(path.startswith("/") for path in parse_fstab(text))
