"""Twilio's error codes (contracts.md §2.6, specs/error_codes.json)."""

from .verdict import table

CODES = table(
    {
        ("account_stop", "account"): "20003 20005 30002 20403 20008 63020",
        ("account_stop", "sender"): ("63001 63002 63007 63008 63022 63026 21212 21606 21701 21702 21703 21704 21705"),
        ("account_stop", "country"): "21408",
        ("throttle", "account"): "20429 63017 63038",
        ("throttle", "sender"): "63018 21611 30001 14107",
        ("transient", "platform"): "20503 63009 63012",
        ("transient", "request"): "63019 63037",
        ("ambiguous", "platform"): "20500 63010",
        ("ambiguous", "request"): "63023 63011 30008 20409",
        ("template", "template"): "63027 63028 63040 63041 63042 21655",
        ("request", "account"): "63062",
        ("request", "request"): (
            "21603 63005 63006 63013 63021 63025 63030 63034 21654 21656 21602 21604 21609 21617 21620"
            " 20001 20004 20404 20422 92001-92008"
        ),
        ("recipient", "recipient"): "63029 63031 63003 63024 63032 63033 63015 21211 21614 21612 21608",
        ("recipient_optout", "recipient"): "63014 21610",
        ("recipient_defer", "recipient"): "63049",
        ("window", "recipient"): "63016",
        ("inbound_only", "webhook"): "11200-11237 12300",
    }
)
PATIENCE = {"63038": 3600.0, "63018": 1.0, "21611": 60.0, "30001": 60.0}
