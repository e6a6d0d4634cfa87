"""What a configuration stands for: the host it names and the collectors that it leaves on."""

from zcs_exporter.config import Config
from zcs_exporter.contract import Clock, Collector
from zcs_exporter.hostio import Host
from zcs_exporter.registry import collector_classes


def real_host(config: Config) -> Host:
    """Return the host that the configuration names."""
    return Host(config.host.root, config.host.zimbra_home)


def build_collectors(config: Config, host: Host, clock: Clock) -> list[Collector]:
    """Return every collector that has a section and is not switched off."""
    classes = [cls for cls in collector_classes(config.sections) if config.collector(cls.name).enabled is not False]
    return [cls(config.collector(cls.name), host, clock) for cls in classes]  # type: ignore[call-arg]  # a protocol has no constructor
