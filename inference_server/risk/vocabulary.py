# SPDX-License-Identifier: AGPL-3.0-or-later
"""Words by which a sentence claims something, and what has to be there for each claim: a closed list, in one place."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern

from inference_server.core.assessment import RiskLevel
from inference_server.core.context import AlarmState
from inference_server.core.detection import Category, Label, Speed
from inference_server.core.observation import Observed, Trust
from inference_server.risk.evidence import Evidence

type Holds = Callable[[Evidence], bool]


def _words(*patterns: str) -> Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


def _seen(*kinds: Observed) -> Holds:
    return lambda evidence: any(subject.best(kind) for subject in evidence.subjects for kind in kinds)


def _never(_evidence: Evidence) -> bool:
    return False


def _inside(evidence: Evidence) -> bool:
    empty = evidence.context is not None and evidence.context.nobody_home
    return _seen(Observed.FORCED_ENTRY)(evidence) or (empty and evidence.place.value == "indoors")


def _runs(evidence: Evidence) -> bool:
    return _seen(Observed.RUNNING)(evidence) or any(s.track.speed is Speed.FAST for s in evidence.subjects)


def _nobody_home(evidence: Evidence) -> bool:
    return evidence.context is not None and evidence.context.nobody_home


def _triggered(evidence: Evidence) -> bool:
    return evidence.context is not None and evidence.context.alarm is AlarmState.TRIGGERED


def _known(*trusts: Trust) -> Holds:
    return lambda evidence: any(s.known_as is not None and s.known_as.trust in trusts for s in evidence.subjects)


def _dark(evidence: Evidence) -> bool:
    return evidence.night or (evidence.context is not None and evidence.context.sun_is_up is False)


def _touched(evidence: Evidence) -> bool:
    return bool(evidence.tampering) or _seen(Observed.TRYING_DOOR, Observed.TRYING_VEHICLE)(evidence)


_PARCELS = (Observed.CARRIES_PARCEL, Observed.LEAVES_PARCEL, Observed.TAKING_PARCEL)

CLAIMS: Sequence[tuple[Pattern[str], Holds]] = (
    (_words(r"weapon\w*", "armed", "unarmed"), _seen(Observed.FIREARM, Observed.KNIFE, Observed.CLUB)),
    (
        _words(r"\w*guns?", r"gun\w+", r"pistol\w*", r"rifle\w*", r"firearm\w*", r"shoot\w*", "shots?", r"revolver\w*"),
        _seen(Observed.FIREARM),
    ),
    (_words("knife", "knives", r"blade\w*", r"machete\w*", r"dagger\w*", r"stab\w*", "swords?"), _seen(Observed.KNIFE)),
    (_words("clubs?", "bats?", r"crow-?bar\w*", "batons?", r"hammer\w*", "axes?", "axe"), _seen(Observed.CLUB)),
    (
        _words("fires?", r"flam(?:es?|ing)", r"smok\w+", r"burn\w*", "ablaze", r"explo\w+", r"bombs?", r"gas(?:es)?"),
        _never,
    ),
    (_words(r"blood\w*", r"bleed\w*", r"wound\w*", "dead", "deaths?", r"corpses?", r"kill\w*", r"murder\w*"), _never),
    (_words(r"kidnap\w*", r"terror\w*", r"drugs?", r"hostages?", r"threaten\w*", r"suicid\w*", r"prowl\w*"), _never),
    (
        _words(r"injur\w+", "hurt", "unconscious", r"collaps\w+", "lying", "lies on", "fell", "fallen"),
        _seen(Observed.LYING),
    ),
    (
        _words(
            r"mask\w*",
            r"unmasked",
            r"balaclava\w*",
            r"hood(?:s|ed|ie|ies)?",
            r"face(?:s)? (?:is |are )?(?:covered|hidden)",
            r"cover(?:s|ed|ing) (?:the|their|a) faces?",
            r"conceal\w*",
            r"disguis\w*",
        ),
        _seen(Observed.FACE_COVERED),
    ),
    (_words(r"burglar\w*", r"burgl\w+", r"intrud\w+", r"intrusion\w*", r"trespass\w*"), _inside),
    (
        _words(
            r"br(?:eak|oke|oken|eaking|eaks)(?:-?ins?)?",
            r"forc(?:e|es|ed|ing|ible|ibly)",
            r"pr(?:y|ies|ied|ying)",
            r"smash\w*",
            r"shatter\w*",
            r"lock-?pick\w*",
        ),
        _seen(Observed.FORCED_ENTRY),
    ),
    (_words(r"tamper\w*", r"handles?", r"tr(?:y|ies|ied|ying) (?:to|the|a|every|all|several)\b.*"), _touched),
    (_words(r"climb\w*", r"scal(?:es|ed|ing)", r"jump\w*"), _seen(Observed.CLIMBING)),
    (
        _words(r"fight\w*", "fought", r"attack\w*", r"assault\w*", r"violen\w+", r"punch\w*", r"struggl\w+"),
        _seen(Observed.FIGHTING),
    ),
    (_words(r"vandal\w*", r"damag\w+", r"graffiti\w*", r"spray\w*", r"destr\w+"), _seen(Observed.VANDALISM)),
    (
        _words(r"steal\w*", "stole", "stolen", r"thefts?", "thief", "thieves", r"rob(?:s|bed|ber\w*|bing)", r"loot\w*"),
        _seen(Observed.TAKING_PARCEL),
    ),
    (_words(r"hid(?:e|es|den|ing)", r"sneak\w*", r"crouch\w*", r"lurk\w*"), _seen(Observed.HIDING)),
    (_words(r"peer(?:s|ed|ing)?", r"look\w* (?:in|into|through)"), _seen(Observed.PEERING)),
    (
        _words(r"run(?:s|ning)?", "ran", "flee(?:s|ing)?", "fled", r"chas(?:e|es|ed|ing)", r"sprint\w*", r"speeding"),
        _runs,
    ),
    (_words("parcels?", "packages?", "boxes", "box"), _seen(*_PARCELS)),
    (_words(r"deliver\w*", r"couriers?", r"postm[ae]n", r"mailm[ae]n"), _seen(*_PARCELS, Observed.UNIFORM)),
    (_words(r"uniform\w*", "police", r"officers?", r"workers?", r"workm[ae]n", r"guards?"), _seen(Observed.UNIFORM)),
    (_words(r"child\w*", "kids?", "boys?", "girls?", "bab(?:y|ies)", r"toddlers?", r"teen\w*"), _seen(Observed.CHILD)),
    (
        _words("m[ae]n", r"males?", r"females?", "wom[ae]n", r"gentlem[ae]n", "lad(?:y|ies)", "guys?", "gangs?", "mob"),
        _never,
    ),
    (
        _words(r"(?:nobody|no one|no-one) (?:\w+ )?(?:at )?home", r"empty (?:house|home)", r"house is empty"),
        _nobody_home,
    ),
    (_words(r"residents?", r"homeowners?", r"owners?", r"family"), _known(Trust.FULL, Trust.PARTIAL)),
    (
        _words(
            r"neighbou?rs?",
            r"cleaners?",
            r"gardeners?",
            r"familiar",
            r"trusted",
            r"known (?:person|visitor|man|vehicle)",
        ),
        _known(*Trust),
    ),
    (_words(r"alarm (?:is |was |has been )?(?:triggered|sounding|ringing)", r"triggered"), _triggered),
    (_words(r"at night", r"night-?time", r"midnight", r"nocturnal", r"dark(?:ness)?"), _dark),
    (_words(r"day-?time", r"by day", r"day-?light", r"afternoon", r"noon"), lambda evidence: not evidence.night),
    (
        _words(
            "fox(?:es)?",
            "deer",
            "bears?",
            "horses?",
            "cows?",
            r"raccoons?",
            "wol(?:f|ves)",
            "snakes?",
            "rats?",
            "drones?",
            r"helicopters?",
            "boats?",
            "trains?",
            "ladders?",
            r"back-?packs?",
            r"bags?",
            r"suitcases?",
            r"phones?",
            r"flash-?lights?",
            "torch(?:es)?",
            r"tools?",
            r"bottles?",
            r"ropes?",
            r"cages?",
            r"trailers?",
        ),
        _never,
    ),
)
"""What a sentence claims besides the objects that it names. Sex is claimed too: nobody detects it."""

NOUNS: Mapping[str, tuple[Label, ...]] = {
    r"persons?|people|someone|somebody|individuals?|visitors?|strangers?|figures?|pedestrians?|passers?-?by": (
        Label.PERSON,
    ),
    r"vehicles?|traffic": tuple(label for label in Label if label.category is Category.VEHICLE),
    r"cars?|sedans?|suvs?|taxis?": (Label.CAR,),
    r"trucks?|lorry|lorries": (Label.TRUCK,),
    r"vans?": (Label.CAR, Label.TRUCK, Label.BUS),
    r"bus(?:es)?": (Label.BUS,),
    r"bicycles?|bikes?|cyclists?": (Label.BICYCLE, Label.MOTORCYCLE),
    r"motor-?(?:cycles?|bikes?)|motorcyclists?|scooters?": (Label.MOTORCYCLE,),
    r"animals?|pets?|wildlife": tuple(label for label in Label if label.category is Category.ANIMAL),
    r"birds?": (Label.BIRD,),
    r"cats?|kittens?": (Label.CAT,),
    r"dogs?|pupp(?:y|ies)": (Label.DOG,),
}
"""What names objects, and which labels these have."""

_FROM_TWO = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS: Mapping[str, range] = {
    **{word: range(number, number + 1) for number, word in enumerate(_FROM_TWO, 2)},
    **dict.fromkeys(("both", "pair of", "couple of"), range(2, 3)),
    **dict.fromkeys(("several", "multiple", "group of", "various"), range(2, 1000)),
    **dict.fromkeys(("many", "numerous", "dozens of", "crowd of"), range(4, 1000)),
}
"""Words for numbers of objects."""

PLACES = _words(
    r"drive-?ways?",
    r"yards?",
    r"gardens?",
    r"lawns?",
    r"doors?",
    r"doorsteps?",
    r"entr(?:y|ies|ances?)",
    r"porch(?:es)?",
    r"side-?walks?",
    r"pavements?",
    r"streets?",
    r"roads?",
    r"garages?",
    r"in-?doors",
    r"inside",
    r"restricted",
    r"windows?",
    r"fences?",
    r"gates?",
    r"roofs?",
    r"walls?",
    r"basements?",
    r"kitchens?",
    r"bed-?rooms?",
    r"living rooms?",
    r"pools?",
    r"sheds?",
    r"balcon(?:y|ies)",
    r"hallways?",
    r"carports?",
    r"barns?",
)
"""Places: each has to be named in the evidence."""

NOT_THERE = _words(
    r"no (?:person|people|one|objects?|vehicles?|visitors?|activity|detections?)", "nobody", r"nothing (?:is|was|has)"
)
"""Says that nothing is there; an event shows something."""

CALM = _words(
    r"(?:is|are|seems?|appears?|looks?|all|be) safe",
    "safe",
    r"harmless",
    r"benign",
    r"innocent",
    r"all (?:clear|quiet|good)",
    r"no (?:\w+ )?(?:threats?|risks?|dangers?|concerns?|action|reason|cause)",
    r"nothing (?:to|of|un\w+|suspicious|special|wrong)",
    r"not (?:a |an )?(?:dangerous|suspicious|threat\w*|alarming|concerning|risk)",
    r"false alarm",
    r"ignore\w*",
    r"routine",
)
"""Says that all is well."""

ALARMED = _words(
    r"danger\w*",
    r"emergenc\w+",
    r"severe\w*",
    r"threats?",
    r"urgen\w+",
    r"alarming",
    r"hostile",
    r"critical",
    r"crim\w+",
)
"""Says that all is not well."""

_LEVEL_NAMES = "low|medium|moderate|high|critical"
LEVEL = re.compile(
    rf"\b(?P<before>{_LEVEL_NAMES})[ -](?:\w+[ -])?(?:risk|level|severity|score|priority)\b"
    r"|\b(?:risk|level|severity|threat|priority)(?: level| score)?(?: is|:| of| was| as)? "
    rf"(?P<after>{_LEVEL_NAMES})\b",
    re.IGNORECASE,
)
"""Names a level."""
LEVELS: Mapping[str, RiskLevel] = {**{level.value: level for level in RiskLevel}, "moderate": RiskLevel.MEDIUM}


@dataclass(frozen=True, slots=True)
class Count:
    """A number of objects that a sentence names."""

    labels: tuple[Label, ...]
    at_least: int
    at_most: int


_COUNTED = re.compile(
    rf"\b(?:(?P<digits>\d{{1,4}})|(?P<word>{'|'.join(sorted(NUMBERS, key=len, reverse=True))}))\s+(?:[\w-]+\s+){{0,2}}?"
    rf"(?P<noun>{'|'.join(NOUNS)})\b",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"\b(?P<noun>{'|'.join(NOUNS)})\b", re.IGNORECASE)
_NOUN_PATTERNS = [(re.compile(noun, re.IGNORECASE), labels) for noun, labels in NOUNS.items()]


def counts_in(sentence: str) -> list[Count]:
    """Return which objects a sentence names, and how many of each it says there are."""
    found = [Count(_labels(named["noun"]), 1, 1000) for named in _NAMED.finditer(sentence)]
    for counted in _COUNTED.finditer(sentence):
        if counted["digits"]:
            number = int(counted["digits"])
            found.append(Count(_labels(counted["noun"]), number, number))
        else:
            numbers = NUMBERS[counted["word"].lower()]
            found.append(Count(_labels(counted["noun"]), numbers.start, numbers.stop - 1))
    return found


def _labels(noun: str) -> tuple[Label, ...]:
    return next(labels for pattern, labels in _NOUN_PATTERNS if pattern.fullmatch(noun))
