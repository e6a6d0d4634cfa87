"""Views of the MIB made up for tests."""

from snapshots import Series, reading, sample, snapshot

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.view import MibView, number_rows
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid


def view_of(*series: Series, root: Oid = DEFAULT_ROOT) -> MibView:
    """Return what is served where these samples are all that is known."""
    readings = reading("made-up", [sample(*each) for each in series])
    return numbered_view(Facts(snapshot(1_709_371_233.0, readings), [], [], "mail.example.com"), root=root)


def numbered_view(facts: Facts, numbers: Numbers | None = None, root: Oid = DEFAULT_ROOT) -> MibView:
    """Return the view of what is known, with the rows numbered as the daemon does it before."""
    numbers = Numbers() if numbers is None else numbers
    number_rows(facts, numbers)
    return MibView(root, facts, numbers)


def view_with_mounts(count: int, root: Oid = DEFAULT_ROOT) -> MibView:
    """Return a view with twelve values for each of these file systems, and a counter beside them."""
    series: list[Series] = [("zcs_auth_successes_total", {"protocol": "soap"}, 2.0**40)]
    for number in range(count):
        mount = {"mountpoint": f"/opt/zimbra/store/volume{number}"}
        whole = {"device": f"/dev/sd{number}", "fstype": "xfs", **mount}
        series += [
            ("zcs_filesystem_size_bytes", whole, 1e12 + number * 1e9),
            ("zcs_filesystem_free_bytes", whole, 5e11),
            ("zcs_filesystem_avail_bytes", whole, 4e11),
            ("zcs_filesystem_readonly", whole, 0.0),
            ("zcs_filesystem_used_ratio", mount, 0.5),
            ("zcs_filesystem_files_used_ratio", mount, 0.05),
            ("zcs_filesystem_full_seconds", {"resource": "space", **mount}, 50_000.0),
            ("zcs_filesystem_role", {"role": "store", **mount}, 1.0),
        ]
    return view_of(*series, root=root)
