"""The three doors to WhatsApp. A provider is one module in this folder; being here is being registered."""

from importlib import import_module
from pkgutil import iter_modules

from .base import all_providers, explain, provider_named, provider_names, providers_recognising

__all__ = ["all_providers", "explain", "provider_named", "provider_names", "providers_recognising"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
