"""Texts for the day something goes wrong: approved beforehand, sent within minutes. They never advertise."""

from .pack_words import Words

EMERGENCIES = (
    Words(
        "event_cancelled",
        "order_confirm",
        ro=(
            "Evenimentul a fost anulat",
            (
                "Bună, {first_name}. Din păcate, evenimentul *{event_name}* ({event_date}) a fost anulat.\n\n"
                "Numărul comenzii: {order_id}\n\nNu trebuie să faci nimic acum: te contactăm cât mai "
                "curând în legătură "
                "cu returnarea banilor. Ne pare rău și îți mulțumim pentru înțelegere."
            ),
        ),
        en=(
            "The event is cancelled",
            (
                "Hello {first_name}. We are sorry to say that *{event_name}* ({event_date}) has been cancelled.\n\n"
                "Order number: {order_id}\n\nYou need not do anything now: we will contact you soon about "
                "getting your money back. We apologise, and thank you for understanding."
            ),
        ),
        exit=False,
    ),
    Words(
        "event_moved",
        "order_confirm",
        ro=(
            "Evenimentul are o dată nouă",
            (
                "Bună, {first_name}. Evenimentul *{event_name}* a fost reprogramat.\n\n"
                "Noua dată: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Biletele tale rămân valabile și nu trebuie să faci nimic. Dacă noua dată nu ți se potrivește, "
                "răspunde la acest mesaj. Ne cerem scuze pentru schimbare."
            ),
        ),
        en=(
            "The event has a new date",
            (
                "Hello {first_name}. The event *{event_name}* has been rescheduled.\n\n"
                "New date: {event_date}\nOrder number: {order_id}\n\n"
                "Your tickets stay valid and you need not do anything. If the new date does not suit you, "
                "reply to this message. We apologise for the change."
            ),
        ),
        exit=False,
    ),
    Words(
        "event_venue_changed",
        "order_confirm",
        ro=(
            "Evenimentul se ține în alt loc",
            (
                "Bună, {first_name}. Evenimentul *{event_name}* se mută în alt loc.\n\n"
                "Noul loc: {venue_name}\nCând: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Biletele tale rămân valabile. Te rugăm să verifici din timp cum ajungi la noua adresă. "
                "Ne cerem scuze pentru schimbare."
            ),
        ),
        en=(
            "The event moves to another place",
            (
                "Hello {first_name}. The event *{event_name}* moves to another place.\n\n"
                "New place: {venue_name}\nWhen: {event_date}\nOrder number: {order_id}\n\n"
                "Your tickets stay valid. Please check in good time how you get to the new address. "
                "We apologise for the change."
            ),
        ),
        exit=False,
    ),
    Words(
        "event_doors_changed",
        "order_confirm",
        ro=(
            "Ora de acces s-a schimbat",
            (
                "Bună, {first_name}. La evenimentul *{event_name}* s-a schimbat ora de acces.\n\n"
                "Porțile se deschid la ora: {doors_time}\nEvenimentul: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Te rugăm să ții cont de noua oră când pornești la drum. Îți mulțumim pentru înțelegere."
            ),
        ),
        en=(
            "The doors open at another time",
            (
                "Hello {first_name}. For the event *{event_name}* the doors open at another time.\n\n"
                "Doors open at: {doors_time}\nEvent: {event_date}\nOrder number: {order_id}\n\n"
                "Please keep the new time in mind when you set out. Thank you for understanding."
            ),
        ),
        exit=False,
    ),
    Words(
        "event_safety_notice",
        "order_confirm",
        ro=(
            "Informare importantă",
            (
                "Bună, {first_name}. Avem o informare importantă despre evenimentul "
                "*{event_name}*:\n\n{safety_info}.\n\n"
                "Când: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Te rugăm să urmezi indicațiile echipei noastre la fața locului. Siguranța ta este pe primul loc."
            ),
        ),
        en=(
            "Important information",
            (
                "Hello {first_name}. We have important information about the event "
                "*{event_name}*:\n\n{safety_info}.\n\n"
                "When: {event_date}\nOrder number: {order_id}\n\n"
                "Please follow the directions of our team on the spot. Your safety comes first."
            ),
        ),
        exit=False,
    ),
)
