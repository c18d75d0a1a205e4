"""Settings of the network probe: section `network`."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from obi_core import Constant, Entries, Live, LoadPlan, ProbeSettings

_PORTS: Final = ("none", "server", "all")
"""`enum network_ports_kept` in network_maps.h."""


def _off(value: object) -> object:
    # YAML reads a bare `off` as false.
    return "off" if value is False else value


class NetworkSettings(ProbeSettings):
    """What the network probe looks at, and what it may use."""

    sample_every: Annotated[int, Live("network_sample_every", shed=True), Field(ge=1, le=1_000_000)] = Field(
        1, description="One packet in so many is counted, with that weight; 1: all."
    )
    loopback: Annotated[bool, Constant("network_loopback")] = Field(
        True, description="Whether packets over the loopback interface count."
    )
    interface_name: Annotated[bool, Constant("network_by_interface")] = Field(
        False, description="Whether obi.network.packets and obi.network.io carry network.interface.name."
    )
    conversation_addresses: Annotated[bool, Constant("network_by_address")] = Field(
        False, description="Whether conversations carry source.address and destination.address."
    )
    conversation_ports: Literal["none", "server", "all"] = Field(
        "none", description="Ports that conversations carry: none, the server's (the client's is folded), or all."
    )
    trace: Annotated[Literal["off", "sampled"], BeforeValidator(_off)] = Field(
        "off", description="Whether a sample of packets is printed to the kernel's trace pipe, a line each; `obi trace` shows it."
    )

    max_rows: Annotated[int, Entries("network_packets"), Field(ge=64, le=262_144)] = Field(
        8_192, description="Rows of packets: one per process name, cgroup, conversation and combination of attributes."
    )
    max_accepted: Annotated[int, Entries("network_accepted"), Field(ge=64, le=262_144)] = Field(
        4_096, description="Accepted connections whose owner is remembered until their next packet."
    )
    max_drops: Annotated[int, Entries("network_drops"), Field(ge=16, le=65_536)] = Field(
        1_024, description="Rows of dropped packets: one per process name, cgroup, transport and reason."
    )

    def plan(self) -> LoadPlan:
        """The fields that C knows by number."""
        plan = super().plan()
        constants = {**plan.constants, "network_by_port": _PORTS.index(self.conversation_ports)}
        return LoadPlan(constants, plan.live, plan.entries)
