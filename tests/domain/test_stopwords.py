"""Whole messages are obeyed, resemblance is flagged, everything else is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.domain.stopwords import heard, payload_heard


@pytest.mark.parametrize(
    "text",
    [
        "STOP", "stop", "  Stop. ", "Stop!!!", "„STOP”", "STOP 🛑", "S.T.O.P.", "stop stop", "\u200eSTOP\u200f",
        "ＳＴＯＰ", "STOP?", "stop" + " " * 3000, "STOP\n",
        "DEZABONARE", "Dezabonare", "dezaboneaza-ma", "DEZABONEAZĂ-MĂ", "Dezaboneaza\u0306-ma", "mă dezabonez",
        "OPREȘTE", "opreşte", "opreste", "Oprește-te", "oprit\u0326i", "RENUNȚ", "renunţ", "renunt",
        "UNSUBSCRIBE", "unsubscribe.", "Quit", "opt-out",
        "leiratkozás", "ABMELDEN", "désabonner", "baja", "disiscrivimi", "parar", "wypisz", "СТОП",
    ],
)  # fmt: skip
def test_a_stop_however_it_is_spelt(text):
    assert heard(text) == "stop"


@pytest.mark.parametrize("text", ["STOP ALL", "stop all!", "StopAll", "STOP TOT", "Oprește tot", "unsubscribe all"])
def test_everything(text):
    assert heard(text) == "stop_all"


@pytest.mark.parametrize("text", ["Stop promotions", "STOP PROMO", "Stop promoții", "stop promoţii", "Fără oferte"])
def test_promotions_only(text):
    assert heard(text) == "stop_marketing"


@pytest.mark.parametrize("text", ["START", "start.", "Abonare", "ABONEAZĂ-MĂ", "unstop", "Subscribe", "Старт"])
def test_a_start(text):
    assert heard(text) == "start"


@pytest.mark.parametrize(
    "text",
    [
        "nonstop", "stop la intrare?", "stop te rog", "please stop sending me these", "Răspunde STOP pentru a opri",
        "STOP, dar doar reclamele", "sotp", "stpo", "dezabonre", "dezabonarre", "unsubcribe", "cancel", "END",
        "anulare", "nu mai vreau mesaje", "vreau să mă dezabonez de tot ce trimiteți", "renunț la bilet",
        "stop " + "a" * 900,
    ],
)  # fmt: skip
def test_what_only_resembles_a_stop_is_flagged_and_not_obeyed(text):
    assert heard(text) == "near_miss"


@pytest.mark.parametrize(
    "text",
    [
        None, "", "   ", "da", "DA", "nu", "ok", "yes", "no", "shop", "top", "step", "post", "store", "start?",
        "la ce oră e start",
        "Mulțumesc!", "👍", "?", "🛑", "abonament", "1", "x" * 5000,
    ],
)  # fmt: skip
def test_everything_else_is_left_alone(text):
    assert heard(text) is None


@pytest.mark.parametrize(
    ("payload", "means"),
    [
        ("STOP", "stop"), ("stop:summer-26", "stop"), ("STOP_ALL", "stop_all"), ("STOP_MARKETING", "stop_marketing"),
        ("Stop promotions", "stop_marketing"), ("START", "start"), ("NONSTOP", None), ("order:stop", None), ("", None),
        (None, None), ("DID_NOT_REQUEST_CODE", None),
    ],
)  # fmt: skip
def test_payloads_of_buttons(payload, means):
    assert payload_heard(payload) == means


@given(st.text(max_size=300))
def test_any_text_gets_an_answer(text):
    assert heard(text) in (None, "stop", "stop_all", "stop_marketing", "start", "near_miss")


@given(st.sampled_from(["STOP", "Dezabonare", "OPREȘTE"]), st.text(alphabet="!?.,;:-… \t\n\u200b„”«»'\"🛑", max_size=8))
def test_punctuation_around_a_word_changes_nothing(word, noise):
    assert heard(noise + word + noise) == "stop"


@given(st.text(alphabet="abcdefghijklmnoprstuvz", min_size=1, max_size=12))
def test_a_word_more_is_never_obeyed(word):
    for text in (f"stop {word}", f"dezabonare {word}"):
        known = {
            "stop",
            "all",
            "everything",
            "tot",
            "toate",
            "promo",
            "promos",
            "marketing",
            "offers",
            "ads",
            "reclame",
        }
        if word not in known | {"oferte", "promotii", "promotion", "promotions", "promotiile", "totala", "dezabonare"}:
            assert heard(text) == "near_miss"
