"""What a person means who answers STOP or START. Only a whole message is obeyed, never a word inside a sentence.

Words: states.md §6.5 ("STOP" ends promotions and reminders, "STOP ALL" everything), in Romanian, English and the
languages of the neighbours. An opt-out must be easy, so spelling is forgiven in letters' marks, case, punctuation and
repetition. What merely resembles one is a ``near_miss``: a human should look, nothing is changed.
"""

import re
import unicodedata
from typing import Literal

Heard = Literal["stop", "stop_all", "stop_marketing", "start", "near_miss"]

_LONGEST_COMMAND = 60
_READ_AT_MOST = 1000

_STOP = """
    stop, stopp, quit, unsubscribe, opt out, optout, dezabonare, dezabonati, dezabonati ma,
    dezaboneaza, dezaboneaza ma, dezabonez, ma dezabonez, opreste, opreste te, opriti, opriti va, oprire, renunt,
    leiratkozas, leiratkozom, abmelden, abbestellen, arret, arreter, desabonner, desinscrire, baja, desuscribir,
    disiscrivimi, disiscrizione, parar, descadastrar, wypisz, стоп, отписка, отписаться, спри, відписатися
"""
_STOP_ALL = """
    stop all, stopall, stop everything, stop tot, stop toate, opreste tot, opreste toate, opreste toate mesajele,
    opriti tot, opriti toate, unsubscribe all, unsubscribe from all, dezabonare totala, dezabonare de la tot,
    dezabonare toate, renunt la tot, renunt la toate, стоп все
"""
_STOP_MARKETING = """
    stop promotions, stop promotion, stop promo, stop promos, stop marketing, stop offers, stop ads, stop promotii,
    stop promotiile, stop reclame, stop oferte, opreste promotiile, opreste ofertele, opreste reclamele, fara promotii,
    fara oferte, fara reclame, dezabonare promotii, dezabonare oferte, unsubscribe from promotions,
    nu mai vreau promotii, nu mai vreau oferte
"""
_START = """
    start, unstop, subscribe, resubscribe, opt in, abonare, aboneaza, aboneaza ma, ma abonez, reabonare,
    reaboneaza, reaboneaza ma, porneste, reporneste, старт
"""
# Not obeyed even alone: to an organiser they may as well mean the order or the event.
_DOUBTFUL = "cancel, end, anulare, anuleaza, anulez, anulati, remove, delete, sterge, block, spam"
_TRACES = (
    "stop", "dezabon", "unsubscri", "opreste", "opriti", "renunt", "nu mai trimite", "nu mai vreau", "nu mai doresc",
    "remove me", "no more messages", "opt out", "leave me alone", "стоп",
)  # fmt: skip


def heard(text: str | None) -> Heard | None:
    """What this message asks for; None for everything that has nothing to do with stopping or starting."""
    if not text or not text.strip():
        return None
    said = _plain(text.strip()[:_READ_AT_MOST])
    if len(text.strip()) <= _LONGEST_COMMAND:
        command = _COMMANDS.get(said) or _COMMANDS.get(_without_repetition(said))
        # "Start?" asks when the doors open. A STOP with a question mark is still a STOP.
        if command and not (command == "start" and "?" in text):
            return command
    return "near_miss" if _resembles_stop(said) else None


def payload_heard(payload: str | None) -> Heard | None:
    """What a template button's payload asks for: ``STOP``, ``STOP_ALL``, ``STOP_MARKETING:summer-26``, ``START``."""
    if not payload:
        return None
    words = [word for word in re.split(r"[^a-z]+", payload.casefold()[:200]) if word]
    if words[:1] == ["start"]:
        return "start"
    if words[:1] != ["stop"]:
        return None
    if words[1:2] in (["all"], ["everything"]):
        return "stop_all"
    return "stop_marketing" if words[1:2] in (["marketing"], ["promo"], ["promotions"], ["offers"]) else "stop"


def _plain(text: str) -> str:
    """Lower case without marks, punctuation, emoji or invisible letters; ş (cedilla) and ș (comma) become s."""
    letters = []
    for letter in unicodedata.normalize("NFKD", text).casefold():
        kind = unicodedata.category(letter)
        if kind in ("Mn", "Me", "Cf", "Sk"):
            continue
        letters.append(letter if kind[0] in "LN" else " ")
    words = "".join(letters).split()
    if len(words) > 1 and all(len(word) == 1 for word in words):
        words = ["".join(words)]  # S.T.O.P.
    return " ".join(words)


def _without_repetition(said: str) -> str:
    """``stop stop stop`` → ``stop``."""
    words = said.split()
    return words[0] if words and len(set(words)) == 1 else said


def _resembles_stop(said: str) -> bool:
    if said in _DOUBTFUL_WORDS or any(trace in said for trace in _TRACES):
        return True
    return " " not in said and any(_one_slip(said, word) for word in _TYPED_WORDS)


def _one_slip(said: str, word: str) -> bool:
    """Two neighbours swapped, one letter doubled or left out, or (in long words) one wrong."""
    if said == word or abs(len(said) - len(word)) > 1:
        return False
    if len(said) == len(word):
        wrong = [i for i in range(len(word)) if said[i] != word[i]]
        if len(wrong) == 2 and wrong[1] == wrong[0] + 1:
            return said[wrong[0]] == word[wrong[1]] and said[wrong[1]] == word[wrong[0]]
        return len(wrong) == 1 and len(word) > 5
    short, long = sorted((said, word), key=len)
    if len(word) <= 5 and len(short) < 4:
        return False  # "top" is a word of its own
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _words(listed: str) -> list[str]:
    return [_plain(word) for word in listed.split(",")]


_COMMANDS: dict[str, Heard] = {
    **dict.fromkeys(_words(_STOP), "stop"),
    **dict.fromkeys(_words(_STOP_ALL), "stop_all"),
    **dict.fromkeys(_words(_STOP_MARKETING), "stop_marketing"),
    **dict.fromkeys(_words(_START), "start"),
}
_DOUBTFUL_WORDS = frozenset(_words(_DOUBTFUL))
_TYPED_WORDS = ("stop", "unsubscribe", "dezabonare", "dezaboneaza", "opreste")
