"""The bus: binds observations to series and keeps them, for every sink to read. The public surface of this package.

Layer 5. It knows neither the kernel nor where the data goes; who an owner is, it asks a `Resolver`.
"""

from obi_core.bus.bus import Bus
from obi_core.bus.losses import Losses, Place
from obi_core.bus.own import Reading, own_metric
from obi_core.bus.table import Limits, SeriesTable

__all__ = ["Bus", "Limits", "Losses", "Place", "Reading", "SeriesTable", "own_metric"]
