"""What was configured, checked, with the place that each value came from.

Files of one directory, a pool overlay, environment variables and flags become the core's sections (`CoreSettings`) at once,
and a probe's section (`ProbeSettings`) once its plugin is known.
"""

from obi_core.settings.core import (
    AgentSettings,
    AttributeRule,
    BudgetSettings,
    CoreSettings,
    HttpSettings,
    MetricsSettings,
    ResourceSettings,
)
from obi_core.settings.identity import IdentitySettings
from obi_core.settings.kubernetes import KubernetesSettings
from obi_core.settings.loading import NodeLabels, Settings, load_settings
from obi_core.settings.markers import Constant, Entries, Live, Marker, OptIn, Switch
from obi_core.settings.origin import Origin, Place
from obi_core.settings.otlp import SIGNALS, Export, OtlpMetricsSettings, OtlpSettings, Signal, SpoolSettings
from obi_core.settings.probe import ProbeSettings, sized_by
from obi_core.settings.sources import Given
from obi_core.settings.values import Bytes, Count, Listen, Names, Seconds, size_text

__all__ = [
    "SIGNALS",
    "AgentSettings",
    "AttributeRule",
    "BudgetSettings",
    "Bytes",
    "Constant",
    "CoreSettings",
    "Count",
    "Entries",
    "Export",
    "Given",
    "HttpSettings",
    "IdentitySettings",
    "KubernetesSettings",
    "Listen",
    "Live",
    "Marker",
    "MetricsSettings",
    "Names",
    "NodeLabels",
    "OptIn",
    "Origin",
    "OtlpMetricsSettings",
    "OtlpSettings",
    "Place",
    "ProbeSettings",
    "ResourceSettings",
    "Seconds",
    "Settings",
    "Signal",
    "SpoolSettings",
    "Switch",
    "load_settings",
    "size_text",
    "sized_by",
]
