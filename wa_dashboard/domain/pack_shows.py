"""Texts of the packs for concerts and festivals, and for theatre."""

from .pack_words import Words

CONCERTS = (
    Words(
        "concert_confirm",
        "order_confirm",
        ro=(
            "Ne vedem la concert!",
            (
                "Bună, {first_name}! Biletele tale la *{event_name}* sunt gata.\n\n"
                "Când: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Păstrează acest mesaj: la intrare ai nevoie doar de bilet și de voie bună."
            ),
        ),
        en=(
            "See you at the show!",
            (
                "Hello {first_name}! Your tickets for *{event_name}* are ready.\n\n"
                "When: {event_date}\nOrder number: {order_id}\n\n"
                "Keep this message: at the entrance all you need is your ticket and a good mood."
            ),
        ),
    ),
    Words(
        "concert_reminder_d7",
        "reminder",
        ro=(
            "Începe numărătoarea inversă",
            (
                "Bună, {first_name}! Peste o săptămână ești la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Ascultă-ți piesele preferate și dă-le de veste prietenilor cu care vii. Mai sunt doar șapte zile!"
            ),
        ),
        en=(
            "The countdown begins",
            (
                "Hello {first_name}! One week from now you are at *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Play your favourite songs and tell the friends who come with you. Only seven days to go!"
            ),
        ),
    ),
    Words(
        "concert_reminder_d3",
        "reminder",
        ro=(
            "Încă trei zile",
            (
                "Bună, {first_name}! Numărătoarea inversă continuă: încă trei zile până la *{event_name}*.\n\n"
                "Când: {event_date}\n\nVerifică pe bilet pe unde intri și gândește-te de pe acum cum ajungi."
            ),
        ),
        en=(
            "Three more days",
            (
                "Hello {first_name}! The countdown goes on: three more days until *{event_name}*.\n\n"
                "When: {event_date}\n\nLook up your entrance on the ticket, and plan how you will get there."
            ),
        ),
    ),
    Words(
        "concert_reminder_d1",
        "reminder",
        ro=(
            "Mâine e ziua cea mare",
            (
                "Bună, {first_name}! Mâine ne vedem la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Încarcă-ți telefonul, ține biletul la îndemână și vino din timp, ca să prinzi un loc "
                "bun. Abia așteptăm!"
            ),
        ),
        en=(
            "Tomorrow is the big day",
            (
                "Hello {first_name}! Tomorrow we meet at *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Charge your phone, keep your ticket at hand and come early for a good place. We cannot wait!"
            ),
        ),
    ),
    Words(
        "concert_last_tickets",
        "promo",
        ro=(
            "Ultimele bilete",
            (
                "Bună, {first_name}! Au mai rămas puține bilete la *{event_name}*, pe {event_date}. "
                "Cu codul {discount_code} le iei la preț redus. Vino și adu-ți prietenii!"
            ),
        ),
        en=(
            "The last tickets",
            (
                "Hello {first_name}! Only a few tickets are left for *{event_name}* on {event_date}. "
                "With the code {discount_code} you pay less. Come, and bring your friends!"
            ),
        ),
    ),
    Words(
        "concert_upgrade",
        "promo",
        ro=(
            "Mai aproape de scenă",
            (
                "Bună, {first_name}! Ai deja bilet la *{event_name}* și te putem aduce mai aproape de scenă. "
                "Cu codul {discount_code} treci la un bilet VIP și plătești doar diferența. Locurile sunt puține."
            ),
        ),
        en=(
            "Closer to the stage",
            (
                "Hello {first_name}! You have your ticket for *{event_name}*, and we can bring you "
                "closer to the stage. "
                "With the code {discount_code} you move up to VIP and pay only the difference. Places are few."
            ),
        ),
    ),
)

THEATRE = (
    Words(
        "theatre_confirm",
        "order_confirm",
        ro=(
            "Locurile tale sunt rezervate",
            (
                "Bună, {first_name}! Îți mulțumim că vii la teatru. Locurile tale la *{event_name}* te așteaptă.\n\n"
                "Când: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Păstrează acest mesaj până la spectacol. Vizionare plăcută!"
            ),
        ),
        en=(
            "Your seats are reserved",
            (
                "Hello {first_name}! Thank you for coming to the theatre. Your seats at *{event_name}* await you.\n\n"
                "When: {event_date}\nOrder number: {order_id}\n\n"
                "Keep this message until the performance. Enjoy the show!"
            ),
        ),
    ),
    Words(
        "theatre_reminder_d7",
        "reminder",
        ro=(
            "O săptămână până la spectacol",
            (
                "Bună, {first_name}! Peste o săptămână te așteptăm la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Trece spectacolul în calendar și bucură-te de așteptare: pe scenă, pregătirile sunt în toi."
            ),
        ),
        en=(
            "One week until the show",
            (
                "Hello {first_name}! One week from now we expect you at *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Put the show into your calendar and look forward to it: on stage, all is being made ready."
            ),
        ),
    ),
    Words(
        "theatre_reminder_d3",
        "reminder",
        ro=(
            "Peste trei zile, la teatru",
            (
                "Bună, {first_name}! Peste trei zile se ridică cortina la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Dacă ai câteva minute, citește despre piesă și despre actori: spectacolul se vede altfel."
            ),
        ),
        en=(
            "Three days until the curtain",
            (
                "Hello {first_name}! In three days the curtain rises for *{event_name}*.\n\nWhen: {event_date}\n\n"
                "If you have a few minutes, read about the play and its actors: it makes the evening richer."
            ),
        ),
    ),
    Words(
        "theatre_reminder_d1",
        "reminder",
        ro=(
            "Mâine se ridică cortina",
            (
                "Bună, {first_name}! Mâine te așteptăm la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Vino din timp: după ce începe spectacolul, s-ar putea să nu mai poți intra în sală. "
                "Te rugăm să-ți închizi telefonul în sală. Vizionare plăcută!"
            ),
        ),
        en=(
            "Tomorrow the curtain rises",
            (
                "Hello {first_name}! Tomorrow we expect you at *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Come early: once the show has begun, we may not be able to seat you. "
                "Please switch off your phone in the hall. Enjoy the show!"
            ),
        ),
    ),
    Words(
        "theatre_season_ticket",
        "promo",
        ro=(
            "Abonamentul stagiunii",
            (
                "Bună, {first_name}! A apărut abonamentul noii stagiuni, cu *{event_name}* printre spectacole. "
                "Cu codul {discount_code} îl iei la preț redus. Te așteptăm cu drag!"
            ),
        ),
        en=(
            "The season ticket",
            (
                "Hello {first_name}! The season ticket is here, with *{event_name}* among its shows. "
                "With the code {discount_code} you pay less for it. We hope to see you there!"
            ),
        ),
    ),
)
