"""Meta's error codes (contracts.md §1.10, specs/error_codes.json), also met behind 360dialog."""

from .verdict import table

CODES = table(
    {
        ("account_stop", "account"): "0 190 3 10 200-299 131005 368 131031 131042 131064 131044",
        ("account_stop", "country"): "130497",
        ("account_stop", "sender"): "131037 131045 133010 33",
        ("admin", "sender"): "133000 133005 133006 133008 133009 133015 133016",
        ("admin", "request"): "131059",
        ("throttle", "app"): "4 613",
        ("throttle", "account"): "80007",
        ("throttle", "sender"): "130429 131048 131208",
        ("throttle", "pair"): "131056",
        ("transient", "platform"): "2 131016 133004",
        ("transient", "sender"): "131057 2494100",
        ("transient", "request"): "131053",
        ("transient", "template"): "134101",
        ("ambiguous", "request"): "1 131000 135000 250012",
        ("ambiguous", "recipient"): "131036",
        ("request", "request"): "100 131008 131009 131051 131055 134100",
        ("request", "account"): "134011",
        ("template", "template"): "134102 132000 132001 132007 132015 132016 132068 132069",
        ("template", "request"): "132005 132008 132012",
        ("template", "account"): "131063",
        ("recipient", "recipient"): "131021 137000 131026 131030",
        ("recipient", "message"): "130472",
        ("recipient", "request"): "131062",
        ("recipient_optout", "recipient"): "131050",
        ("recipient_defer", "recipient"): "131049",
        ("window", "recipient"): "131047",
        ("inbound_only", "inbound"): "131052 501 131035",
    }
)
# Subcodes of code 100 when a template is created (contracts.md §1.3).
SUBCODES = frozenset("2388040 2388047 2388072 2388073 2388293 2388299 2388019 2388023 2388024".split())
# Seconds to wait at least (contracts.md §1.9: one message per pair in 6 s; app and account limits are hourly).
PATIENCE = {"131056": 6.0, "131048": 900.0, "4": 60.0, "613": 60.0, "80007": 60.0, "131057": 60.0, "131053": 5.0}
