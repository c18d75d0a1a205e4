"""Settings of the tcp probe: section `tcp`."""

from typing import Annotated

from pydantic import Field

from obi_core import Entries, ProbeSettings


class TcpSettings(ProbeSettings):
    """What the tcp probe may use."""

    max_sockets: Annotated[int, Entries("tcp_sockets"), Field(ge=64, le=1_048_576)] = Field(
        16_384, description="TCP sockets followed at once, 200 bytes of kernel memory each; those beyond are counted as lost."
    )
    max_listeners: Annotated[int, Entries("tcp_listeners"), Field(ge=16, le=65_536)] = Field(
        4_096, description="Listening addresses remembered, to know whose an unaccepted connection is."
    )
    max_rows: Annotated[int, Entries("tcp_connects"), Entries("tcp_io"), Field(ge=64, le=65_536)] = Field(
        4_096, description="Rows of the connect and byte counters: one per process name, cgroup, role and outcome."
    )
    max_histograms: Annotated[
        int, Entries("tcp_handshake_duration"), Entries("tcp_connection_duration"), Field(ge=16, le=16_384)
    ] = Field(1_024, description="Rows of each histogram, about 900 bytes of kernel memory each.")
