"""Texts of the packs for conferences, for sport and for what happens again and again."""

from .pack_words import Words

CONFERENCES = (
    Words(
        "conference_confirm",
        "order_confirm",
        ro=(
            "Înscrierea ta este confirmată",
            (
                "Bună, {first_name}! Înscrierea ta la *{event_name}* este confirmată.\n\n"
                "Când: {event_date}\nNumărul înscrierii: {order_id}\n\n"
                "Îți trimitem din timp tot ce trebuie să știi despre program. Ne bucurăm că vii!"
            ),
        ),
        en=(
            "Your registration is confirmed",
            (
                "Hello {first_name}! Your registration for *{event_name}* is confirmed.\n\n"
                "When: {event_date}\nRegistration number: {order_id}\n\n"
                "We will tell you in good time what you need to know about the programme. We are glad you are coming!"
            ),
        ),
    ),
    Words(
        "conference_reminder_d7",
        "reminder",
        ro=(
            "O săptămână până la conferință",
            (
                "Bună, {first_name}! Peste o săptămână începe *{event_name}*.\n\nCând: {event_date}\n\n"
                "E momentul potrivit să răsfoiești programul și să alegi sesiunile la care vrei să fii."
            ),
        ),
        en=(
            "One week until the conference",
            (
                "Hello {first_name}! One week from now *{event_name}* begins.\n\nWhen: {event_date}\n\n"
                "It is a good moment to leaf through the programme and choose the sessions you want to attend."
            ),
        ),
    ),
    Words(
        "conference_reminder_d3",
        "reminder",
        ro=(
            "Trei zile până la conferință",
            (
                "Bună, {first_name}! Mai sunt trei zile până la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Pregătește câteva întrebări pentru vorbitori și cărțile de vizită: "
                "pauzele sunt făcute pentru cunoștințe noi."
            ),
        ),
        en=(
            "Three days until the conference",
            (
                "Hello {first_name}! Three days are left until *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Prepare some questions for the speakers and bring your business cards: "
                "the breaks are made for meeting people."
            ),
        ),
    ),
    Words(
        "conference_reminder_d1",
        "reminder",
        ro=(
            "Mâine începem",
            (
                "Bună, {first_name}! Mâine te așteptăm la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Vino cu puțin timp înainte, pentru înregistrare și o cafea, și ține la îndemână "
                "confirmarea înscrierii."
            ),
        ),
        en=(
            "We begin tomorrow",
            (
                "Hello {first_name}! Tomorrow we expect you at *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Come a little early to check in and have a coffee, and keep your confirmation at hand."
            ),
        ),
    ),
    Words(
        "conference_programme_changed",
        "order_confirm",
        ro=(
            "Schimbare în program",
            (
                "Bună, {first_name}! Programul de la *{event_name}* s-a schimbat: {change}.\n\n"
                "Conferința: {event_date}\nNumărul înscrierii: {order_id}\n\n"
                "Restul programului rămâne neschimbat. Îți mulțumim pentru înțelegere și te așteptăm cu drag."
            ),
        ),
        en=(
            "A change in the programme",
            (
                "Hello {first_name}! The programme of *{event_name}* has changed: {change}.\n\n"
                "Conference: {event_date}\nRegistration number: {order_id}\n\n"
                "The rest of the programme stays as it is. Thank you for understanding; we look forward to seeing you."
            ),
        ),
        exit=False,
    ),
    Words(
        "conference_next_edition",
        "promo",
        ro=(
            "S-au deschis înscrierile",
            (
                "Bună, {first_name}! S-au deschis înscrierile la *{event_name}*, pe {event_date}. "
                "Cu codul {discount_code} te înscrii la preț redus. Vino să schimbăm idei față în față!"
            ),
        ),
        en=(
            "Registration is open",
            (
                "Hello {first_name}! Registration for *{event_name}* on {event_date} is open. "
                "With the code {discount_code} you register at a lower price. Come and share your ideas face to face!"
            ),
        ),
    ),
)

SPORT = (
    Words(
        "match_confirm",
        "order_confirm",
        ro=(
            "Ai bilet la meci",
            (
                "Bună, {first_name}! Biletele tale la *{event_name}* sunt confirmate.\n\n"
                "Când: {event_date}\nNumărul comenzii: {order_id}\n\n"
                "Păstrează acest mesaj până la meci și pregătește-ți vocea. Avem nevoie de tine în tribună!"
            ),
        ),
        en=(
            "You are in for the match",
            (
                "Hello {first_name}! Your tickets for *{event_name}* are confirmed.\n\n"
                "When: {event_date}\nOrder number: {order_id}\n\n"
                "Keep this message until the match and save your voice. We need you in the stands!"
            ),
        ),
    ),
    Words(
        "match_reminder_d7",
        "reminder",
        ro=(
            "O săptămână până la meci",
            (
                "Bună, {first_name}! Peste o săptămână jucăm: *{event_name}*.\n\nCând: {event_date}\n\n"
                "Anunță-i pe cei cu care vii și stabiliți unde vă întâlniți înainte de meci."
            ),
        ),
        en=(
            "One week until the match",
            (
                "Hello {first_name}! One week from now we play: *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Tell those who come with you, and agree on where you meet before the match."
            ),
        ),
    ),
    Words(
        "match_reminder_d3",
        "reminder",
        ro=(
            "Trei zile până la meci",
            (
                "Bună, {first_name}! Mai sunt trei zile până la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Stabilește de pe acum cum ajungi și unde parchezi: în ziua meciului, drumurile din zonă "
                "sunt aglomerate."
            ),
        ),
        en=(
            "Three days until the match",
            (
                "Hello {first_name}! Three days are left until *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Plan how you get there and where you park: on match day the roads around are busy."
            ),
        ),
    ),
    Words(
        "match_reminder_d1",
        "reminder",
        ro=(
            "Mâine este zi de meci",
            (
                "Bună, {first_name}! Mâine jucăm: *{event_name}*.\n\nCând: {event_date}\n\n"
                "Poarta și locul le găsești pe bilet. Vino devreme, ca să treci fără grabă de control, "
                "și adu-ți fularul. Împreună suntem mai puternici!"
            ),
        ),
        en=(
            "Tomorrow is match day",
            (
                "Hello {first_name}! Tomorrow we play: *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Your gate and seat are on the ticket. Come early to pass the checks without a rush, "
                "and bring your scarf. Together we are stronger!"
            ),
        ),
    ),
    Words(
        "match_reminder_h5",
        "reminder",
        ro=(
            "Astăzi este zi de meci",
            (
                "Bună, {first_name}! Astăzi jucăm: *{event_name}*.\n\n"
                "Porțile se deschid la ora {doors_time}.\nUnde parchezi: {parking}.\n\n"
                "Ai la tine biletul și un act de identitate. Ne vedem în tribună!"
            ),
        ),
        en=(
            "Today is match day",
            (
                "Hello {first_name}! Today we play: *{event_name}*.\n\n"
                "The gates open at {doors_time}.\nWhere to park: {parking}.\n\n"
                "Bring your ticket and an identity card. See you in the stands!"
            ),
        ),
    ),
    Words(
        "match_fan_shop",
        "promo",
        ro=(
            "Pentru suporteri",
            (
                "Bună, {first_name}! Vii la *{event_name}*, așa că avem ceva pentru tine: cu codul {discount_code} "
                "iei fularul și tricoul echipei la preț redus. Le găsești la magazinul clubului."
            ),
        ),
        en=(
            "For our supporters",
            (
                "Hello {first_name}! You are coming to *{event_name}*, so here is something for you: with the code "
                "{discount_code} the team's scarf and shirt cost less. You find them in the club's shop."
            ),
        ),
    ),
)

RECURRING = (
    Words(
        "edition_confirm",
        "order_confirm",
        ro=(
            "Ne bucurăm că vii",
            (
                "Bună, {first_name}! Locul tău la *{event_name}* este asigurat și ne bucurăm că vii.\n\n"
                "Când: {event_date}\nNumărul comenzii: {order_id}\n\nPăstrează acest mesaj până atunci."
            ),
        ),
        en=(
            "We are glad you are coming",
            (
                "Hello {first_name}! Your place at *{event_name}* is booked, and we are glad you are coming.\n\n"
                "When: {event_date}\nOrder number: {order_id}\n\nKeep this message until then."
            ),
        ),
    ),
    Words(
        "edition_reminder_d7",
        "reminder",
        ro=(
            "O nouă ediție, peste o săptămână",
            (
                "Bună, {first_name}! Peste o săptămână are loc o nouă ediție: *{event_name}*.\n\nCând: {event_date}\n\n"
                "Locul tău te așteaptă. Dacă s-a schimbat ceva și nu mai poți veni, scrie-ne."
            ),
        ),
        en=(
            "A new edition in one week",
            (
                "Hello {first_name}! One week from now there is a new edition: *{event_name}*.\n\nWhen: "
                "{event_date}\n\n"
                "Your place is waiting. If something has changed and you cannot come, write to us."
            ),
        ),
    ),
    Words(
        "edition_reminder_d3",
        "reminder",
        ro=(
            "Trei zile până la noua ediție",
            (
                "Bună, {first_name}! Mai sunt trei zile până la *{event_name}*.\n\nCând: {event_date}\n\n"
                "Pregătim ultimele detalii și abia așteptăm să te vedem."
            ),
        ),
        en=(
            "Three days until the new edition",
            (
                "Hello {first_name}! Three days are left until *{event_name}*.\n\nWhen: {event_date}\n\n"
                "We are preparing the last details and cannot wait to see you."
            ),
        ),
    ),
    Words(
        "edition_reminder_d1",
        "reminder",
        ro=(
            "Mâine, o nouă ediție",
            (
                "Bună, {first_name}! Mâine te așteptăm la o nouă ediție: *{event_name}*.\n\nCând: {event_date}\n\n"
                "Locul tău este pregătit. Vino cu puțin timp înainte, ca să apuci să saluți pe toată lumea."
            ),
        ),
        en=(
            "Tomorrow, a new edition",
            (
                "Hello {first_name}! Tomorrow we expect you at a new edition: *{event_name}*.\n\nWhen: {event_date}\n\n"
                "Your place is ready. Come a little early, so that you have time to greet everybody."
            ),
        ),
    ),
    Words(
        "edition_early_bird",
        "promo",
        ro=(
            "Ediția următoare",
            (
                "Bună, {first_name}! Ai fost cu noi la o ediție trecută, așa că îți dăm de știre din "
                "timp: *{event_name}* "
                "revine pe {event_date}. Cu codul {discount_code} iei bilete la preț de early-bird. Ne revedem?"
            ),
        ),
        en=(
            "The next edition",
            (
                "Hello {first_name}! You were with us at an earlier edition, so you hear it early: *{event_name}* "
                "is back on {event_date}. With the code {discount_code} you get early-bird tickets. See you again?"
            ),
        ),
    ),
)
