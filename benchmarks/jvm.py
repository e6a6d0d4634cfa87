"""G9: a JVM's counters, beside ``jstat`` and a kept JMX connection."""

import subprocess
import sys
from pathlib import Path

from e2e.lab import HOME, JSTAT, jdk, read_pid, run, scratch, spawn

from benchmarks.harness import OURS, Form, Plan, Report, cpu_seconds, in_turns, quantile, run_program
from benchmarks.scene import Scene
from benchmarks.stepper import Stepper

READER = Path(__file__).parent / "java" / "BeanReader.java"
_PORT = 7099
_JMX, _JSTAT = "JMX, kept connection", "jstat -gc"
_READ, _CPU = "reading one JVM's counters", "reading one JVM's counters, CPU of the reader"
_MADE, _ROUND = "reading and making series of them", "a round of the collector, two JVMs"


class Beans:
    """A Java program that keeps a connection to the JVM and reads fifteen beans' attributes when told to."""

    def __init__(self) -> None:
        """Compile and connect it."""
        place = scratch("beans")
        run(jdk() / "javac", "-d", place, READER)
        command = [jdk() / "java", "-Xmx64m", "-cp", place, "BeanReader", str(_PORT)]
        self._process = spawn(command, place / "log", piped=True)
        self._say(0)

    def _say(self, number: int) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return [int(word) / 1e9 for word in self._process.stdout.readline().split()]

    def read(self, number: int) -> tuple[float, float]:
        """Return the median seconds of so many readings, and the CPU seconds of one on average."""
        before = cpu_seconds(self._process.pid)
        found = self._say(number)
        return quantile(found, 0.5), (cpu_seconds(self._process.pid) - before) / number

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)


def measure(plan: Plan) -> Report:
    """Read mailboxd's counters in three ways."""
    report = Report()
    with Scene() as scene:
        scene.jvms.mailboxd.stop()
        switches = ("port=7099", "rmi.port=7099", "authenticate=false", "ssl=false", "host=127.0.0.1")
        scene.jvms.mailboxd.start(
            "G1",
            "-Djava.rmi.server.hostname=127.0.0.1",
            *(f"-Dcom.sun.management.jmxremote.{each}" for each in switches),
        )
        pid = read_pid(HOME / "log/zmmailboxd_java.pid")
        many = 20 if plan.quick else 300

        def ours() -> dict[tuple[str, str], float]:
            # In a process of its own: what is measured is one reading, not what surrounds it.
            code = [sys.executable, "-m", "benchmarks.jvm_reader", str(pid), str(many)]
            printed = subprocess.run(code, check=True, capture_output=True, text=True).stdout
            read, read_cpu, made, made_cpu = map(float, printed.split())
            return {(_READ, "s"): read, (_CPU, "s"): read_cpu, (_MADE, "s"): made, (f"{_MADE}, CPU", "s"): made_cpu}

        def jstat() -> dict[tuple[str, str], float]:
            done = [run_program([JSTAT, "-gc", str(pid)]) for _ in range(2 if plan.quick else 5)]
            return {
                (_READ, "s"): quantile([each.wall for each in done], 0.5),
                (_CPU, "s"): quantile([each.cpu for each in done], 0.5),
            }

        beans = Beans()
        beans.read(many)  # until its own compiler has done its work

        def jmx() -> dict[tuple[str, str], float]:
            median, cpu = beans.read(many)
            return {(_READ, "s"): median, (_CPU, "s"): cpu}

        with Stepper("jvm") as stepper:
            stepper.rounds(3)

            def collector() -> dict[tuple[str, str], float]:
                done = stepper.rounds(20 if plan.quick else 200)
                return {(_ROUND, "s"): quantile(done.walls, 0.5), (f"{_ROUND}, CPU", "s"): done.cpu}

            sides = {OURS: ours, _JMX: jmx, _JSTAT: jstat, "the collector": collector}
            report.add(in_turns(plan.rounds(5), sides))
        beans.close()
    report.promise(
        "G9",
        "a JVM's counters, beside fifteen attributes over a kept JMX connection (p50)",
        Form.TIMES,
        300,
        _JMX,
        of=_READ,
    )
    report.promise("G9", "the same, beside jstat (p50)", Form.TIMES, 10_000, _JSTAT, of=_READ)
    return report
