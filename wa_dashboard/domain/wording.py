"""Words that stand in many templates, in Romanian and English: the way out, greetings, samples, usual buttons."""

STOP = {"ro": "Răspunde STOP ca să nu mai primești mesaje", "en": "Reply STOP to get no more messages"}
STOP_PROMO = {"ro": "Răspunde STOP ca să nu mai primești oferte", "en": "Reply STOP to get no more offers"}
GREETING = {"ro": "Bună, ", "en": "Hello "}

# Meta writes these texts; ours are what the recipient reads, for previews (contracts.md §1.3).
CODE_BODY = {
    "ro": "*{code}* este codul tău de verificare. Pentru siguranța ta, nu trimite acest cod nimănui.",
    "en": "*{code}* is your verification code. For your security, do not share this code.",
}
CODE_FOOTER = {"ro": "Acest cod expiră în %d minute.", "en": "This code expires in %d minutes."}
CODE_BUTTON = {"ro": "Copiază codul", "en": "Copy code"}

# What stands in a preview for each variable we know.
SAMPLES = {
    "ro": {
        "first_name": "Ana",
        "order_id": "A-1001",
        "event_name": "Concertul de primăvară",
        "event_date": "4 aprilie 2027, ora 20:00",
        "venue_name": "Sala Palatului",
        "discount_code": "PRIMAVARA",
        "order_token": "A-1001",
        "doors_time": "18:30",
        "seat": "B12",
        "parking": "Parcarea de nord",
        "change": "sesiunea de deschidere începe la 9:30",
        "safety_info": "accesul se face numai prin intrarea de est",
        "code": "123456",
    },
    "en": {
        "first_name": "Ana",
        "order_id": "A-1001",
        "event_name": "Spring Concert",
        "event_date": "4 April 2027, 20:00",
        "venue_name": "Palace Hall",
        "discount_code": "SPRING",
        "order_token": "A-1001",
        "doors_time": "18:30",
        "seat": "B12",
        "parking": "North car park",
        "change": "the opening session begins at 9:30",
        "safety_info": "please use the east entrance only",
        "code": "123456",
    },
}

# Short texts organisers use everywhere: each pair says the same.
PAIRS: tuple[tuple[str, str], ...] = (
    (STOP["ro"], STOP["en"]),
    (STOP_PROMO["ro"], STOP_PROMO["en"]),
    ("Răspunde STOP pentru a opri mesajele", "Reply STOP to stop messages"),
    ("Scrie STOP pentru dezabonare", "Write STOP to unsubscribe"),
    ("Vezi biletele", "View tickets"),
    ("Vezi biletul", "View ticket"),
    ("Vezi comanda", "View order"),
    ("Descarcă biletele", "Download tickets"),
    ("Cumpără bilete", "Buy tickets"),
    ("Ia bilete", "Get tickets"),
    ("Adaugă în calendar", "Add to calendar"),
    ("Vezi programul", "View programme"),
    ("Vezi harta", "View map"),
    ("Cum ajungi", "Getting there"),
    ("Detalii", "Details"),
    ("Află mai multe", "Learn more"),
    ("Ajutor", "Help"),
    ("Contact", "Contact"),
    ("Sună-ne", "Call us"),
    ("Dezabonare", "Unsubscribe"),
    ("Copiază codul", "Copy code"),
    ("Da", "Yes"),
    ("Nu", "No"),
    ("Vin", "I am coming"),
    ("Nu mai pot veni", "I cannot come"),
)


def spoken(language: str) -> str | None:
    """``ro`` or ``en`` for a language code that is one of them, as ``en_GB``; None for others."""
    base = language.partition("_")[0]
    return base if base in STOP else None
