"""The dashboard of one host, for the person on call.

The first screen answers, without scrolling: what is wrong now, since when, what changed just before, which component
is busy, short of memory or busy on disk, where mail waits, how full the disks are and until when. Below it is the
same in more depth.
"""

from zcs_exporter.alerting.model import Catalogue
from zcs_exporter.dashboards.dashboard import Choice, Dashboard, Mark, Row
from zcs_exporter.dashboards.panels import daemon, disks, logins, mail, programs, wrong
from zcs_exporter.dashboards.terms import Color, series


def host_dashboard(catalogue: Catalogue) -> Dashboard:
    """Return the dashboard; the alerts tell which labels an alarm can have."""
    return Dashboard(
        uid="zcs-host",
        title="Zimbra host",
        description=(
            "One Zimbra host: what is wrong, since when, what changed just before, who is busy, where mail waits, "
            "how full and until when."
        ),
        choices=(
            Choice(name="job", label="Job", query="label_values(zcs_exporter_build_info, job)", hidden=True),
            Choice(
                name="cluster",
                label="Cluster",
                query='label_values(zcs_exporter_build_info{job=~"$job"}, cluster)',
                nothing=True,
            ),
            Choice(
                name="role",
                label="Role",
                query='label_values(zcs_role{job=~"$job",cluster=~"$cluster"}, role)',
                nothing=True,
            ),
            Choice(
                name="host",
                label="Host",
                # The second of these has no role: a host whose roles cannot be told is among all of them.
                query=(
                    'label_values({__name__=~"zcs_role|zcs_exporter_build_info",'
                    'job=~"$job",cluster=~"$cluster",role=~"$role"}, instance)'
                ),
                many=False,
            ),
        ),
        marks=(
            Mark(
                name="Alarms",
                expr=series("zcs_alert_active"),
                title="{{alert}}",
                text="{{severity}}",
                color=Color.CRITICAL,
            ),
            Mark(
                name="Starts of services",
                expr=f"{series('zcs_service_start_time_seconds')} * 1000",
                title="{{name}} started",
                text="",
                color=Color.NOTE,
                value_is_time=True,
            ),
            Mark(
                name="Maintenance",
                expr=f"{series('zcs_maintenance')} == 1",
                title="Maintenance",
                text="{{cause}}",
                color=Color.UNKNOWN,
            ),
        ),
        rows=(
            Row(height=7, panels=(wrong.alarm_counts(), wrong.alarms(catalogue), wrong.changes())),
            Row(height=3, panels=(wrong.services(),)),
            Row(height=8, panels=(disks.file_systems(), mail.queues(), mail.oldest(), logins.logins())),
            Row(height=8, panels=(programs.busy(), programs.memory(), programs.disk(), mail.delay(), wrong.unseen())),
            Row(title="Disks", height=8, panels=(disks.space(), disks.inodes(), disks.room())),
            Row(title="Mail", height=8, panels=(mail.flow(), mail.deferrals(), mail.rejects(), mail.verdicts())),
            Row(
                title="Mailbox server and database",
                height=8,
                panels=(programs.answers(), programs.threads(), programs.pools(), programs.statements()),
            ),
            Row(title="Logins and logs", height=8, panels=(logins.failures(), logins.successes(), daemon.complaints())),
            Row(title="The daemon itself", height=8, panels=(daemon.rounds(), daemon.lines(), daemon.waiting())),
        ),
    )
