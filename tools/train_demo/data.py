"""Short invented chats whose right answers are known.

Every chat is a list of Turn(role, text, task). An assistant turn carries the
name of the task that it answers, so that answers can be counted per task.

What is kept out of training is decided by a hash of the question's content
(`held`), never by the random state: the same pair of numbers, the same set of
letters or the same wording of a question is on the same side in every run.
"""

import random
import zlib
from dataclasses import dataclass

from glossary import GLOSSARY, SMALL_TALK

HELD_OUT_EVERY = 20  # one key in twenty is kept out of training


@dataclass
class Turn:
    role: str
    text: str
    task: str = ""


def held(*key):
    """True when this key belongs to the held-out side."""
    return zlib.crc32("|".join(map(str, key)).encode()) % HELD_OUT_EVERY == 0


def pick(rng, make, split):
    """Draw from make() until the drawn (key, value) is on the side asked for."""
    while True:
        key, value = make()
        if held(*key) == (split == "test"):
            return value


# ---------------------------------------------------------------- word lists

NAMES = (
    "Ada Alma Amir Anna Ben Bruno Carla Chen Clara Dan Diego Elena Emil Eva Felix Fatima Grace "
    "Hana Hugo Ida Ines Ivan Jack Jana Jonas Julia Kai Karim Kate Lars Lea Leo Lina Luca Maria "
    "Mark Maya Mia Milan Mona Nina Noah Nora Oleg Olga Omar Oscar Paul Petra Priya Ravi Rosa "
    "Ruth Sam Sara Simon Sofia Tara Tim Tom Uma Vera Victor Wei Yara Yusuf Zoe"
).split()
OBJECTS = (
    "key lamp cup book box ball bag hat coat ring map phone clock chair bottle pencil brush "
    "basket blanket camera candle guitar hammer kite ladder mirror notebook plate rope scarf "
    "spoon ticket towel umbrella wallet watch whistle letter radio vase"
).split()
COLOURS = "red blue green yellow black white brown grey pink purple orange golden".split()
PLACES = (
    "in the kitchen|in the garden|in the garage|in the cellar|in the attic|in the hall|"
    "in the office|in the drawer|in the library|in the car|in the bathroom|in the bedroom|"
    "on the table|on the shelf|on the roof|on the desk|on the sofa|on the stairs|under the bed|"
    "under the tree|under the bench|behind the door|behind the curtain|behind the shed|"
    "next to the window|next to the stove|near the gate|near the pond"
).split("|")
JOBS = (
    "baker|teacher|doctor|pilot|painter|plumber|lawyer|singer|sailor|driver|carpenter|librarian|cook|"
    "dancer|judge|barber|miner"
).split("|")
FOODS = (
    "soup bread cheese rice pears cherries pancakes honey fish "
    "beans olives carrots noodles pizza yoghurt grapes dumplings"
).split()
PETS = "cat dog horse parrot rabbit hamster turtle goat".split()
PET_NAMES = "Biscuit Pepper Shadow Luna Rocky Ginger Max Bella Coco Daisy Milo Oreo Rex Ruby Simba Toby".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SYSTEM = [
    "You are a helpful assistant.",
    "You are the phiquant demo.",
    "You are a very small Phi model. Answer briefly.",
    "Answer in one sentence.",
    "Answer the question of the user.",
    "You are a helpful AI assistant. Be brief and exact.",
]


# -------------------------------------------------------------- fact look-up
# A fact is one sentence whose value follows its key, and the answer says the
# same sentence again: the way of answering is to find the key and copy on.

THING, PERSON = OBJECTS, NAMES
FAMILIES = [
    # keys, values, the sentence, the questions
    (THING, PLACES, "The {k} is {v}.", ["Where is the {k}?", "Where can I find the {k}?", "Tell me where the {k} is."]),
    (THING, NAMES, "The {k} is with {v}.", ["Who has the {k}?", "Tell me who has the {k}."]),
    (THING, COLOURS, "The {k} is {v}.", ["What colour is the {k}?", "What is the colour of the {k}?"]),
    (THING, None, "The number of the {k} is {v}.", ["What is the number of the {k}?", "Tell me the number of the {k}."]),
    (PERSON, JOBS, "{k} is a {v}.", ["What is {k}'s job?", "What is the job of {k}?"]),
    (PERSON, FOODS, "{k} likes {v}.", ["What does {k} like?", "Which food does {k} like?"]),
    (PERSON, DAYS, "{k} arrives on {v}.", ["When does {k} arrive?", "Tell me when {k} arrives."]),
    (PETS, PET_NAMES, "The {k} is called {v}.", ["What is the {k} called?", "What is the name of the {k}?"]),
]


def code(rng):
    return "".join(rng.choice("0123456789") for _ in range(2))


def fact_set(rng, split):
    """2-4 facts as (sentence, questions), mostly of one family so that they are
    easy to mix up, and which of them may be asked on this side of the split.
    In training no sentence of the other side is even told."""
    same = rng.random() < 0.75
    n = rng.randint(2, 4)
    families = [rng.choice(FAMILIES)] * n if same else rng.choices(FAMILIES, k=n)
    used, facts = set(), []
    for keys, values, told, asked in families:
        while True:
            k = rng.choice(keys)
            v = rng.choice(values) if values else code(rng)
            sentence = told.format(k=k, v=v)
            if {k, v} & used or k == v or split == "train" and held("fact", sentence):
                continue
            used |= {k, v}
            break
        facts.append((sentence, [q.format(k=k) for q in asked]))
    wanted = split == "test"
    return facts, [f for f in facts if held("fact", f[0]) == wanted]


SELF = {
    # what is told, what is asked, the reply, the answer
    "name": ("My name is {v}.", ["What is my name?", "Do you remember my name?"], "Nice to meet you, {v}.", "Your name is {v}."),
    "colour": ("My favourite colour is {v}.", ["What is my favourite colour?"], "Noted.", "Your favourite colour is {v}."),
    "food": ("I like {v}.", ["What do I like?", "Which food do I like?"], "Noted.", "You like {v}."),
    "job": ("I am a {v}.", ["What is my job?"], "Noted.", "You are a {v}."),
}
SELF_VALUES = {"name": NAMES, "colour": COLOURS, "food": FOODS, "job": JOBS}


def self_fact(rng, split, kind):
    told, asked, reply, answer = SELF[kind]

    def make():
        value, question = rng.choice(SELF_VALUES[kind]), rng.choice(asked)
        return ("self", value, question), (value, question)
    value, question = pick(rng, make, split)
    return told.format(v=value), reply.format(v=value), question, answer.format(v=value)


def chat_facts(rng, split):
    """All facts in the first message, the questions there or in later turns."""
    while True:
        facts, askable = fact_set(rng, split)
        if askable:
            break
    rng.shuffle(askable)
    told = " ".join(f[0] for f in facts)
    turns = []
    if rng.random() < 0.3:
        turns += [Turn("user", told), Turn("assistant", "Noted.", "ack")]
        first, task = "", "facts-earlier-turn"
    else:
        first, task = told + " ", "facts"
    for sentence, questions in askable[: rng.randint(1, 4)]:
        turns += [Turn("user", first + rng.choice(questions)), Turn("assistant", sentence, task)]
        first, task = "", "facts-earlier-turn"
    return turns


def chat_self(rng, split):
    """The user tells 1-3 things of himself; other turns may lie between."""
    kinds = rng.sample(list(SELF), rng.randint(1, 3))
    parts = [self_fact(rng, split, kind) for kind in kinds]
    turns = []
    for told, reply, _, _ in parts:
        turns += [Turn("user", told), Turn("assistant", reply, "ack")]
    if rng.random() < 0.4:
        turns += rng.choice([chat_sum, chat_sort, chat_glossary, chat_small_talk])(rng, split)[:2]
    rng.shuffle(parts)
    for _, _, asked, answer in parts:
        turns += [Turn("user", asked), Turn("assistant", answer, "facts-earlier-turn")]
    return turns


# ------------------------------------------------------------------ addition

SUM_FORMS = [
    "{a} + {b}", "{a} + {b} = ?", "{a}+{b}", "What is {a} + {b}?", "What is {a}+{b}?", "What is {a} plus {b}?",
    "Add {a} and {b}.", "How much is {a} + {b}?", "How much is {a} plus {b}?", "Please add {a} and {b}.",
    "Calculate {a} + {b}.", "What is the sum of {a} and {b}?", "Can you add {a} and {b}?",
]


def number(rng):
    return rng.randint(0, 9) if rng.random() < 0.15 else rng.randint(10, 99)


def column_sum(a, b):
    """The way by columns, ones first: a tiny model gets short steps right."""
    if a < 10 and b < 10:
        return f"{a} + {b} = {a + b}."
    ones = a % 10 + b % 10
    tens = [str(t) for t in (a // 10, b // 10, ones // 10) if t]
    steps = [f"{a % 10} + {b % 10} = {ones}"]
    if len(tens) > 1:
        steps.append(f"{' + '.join(tens)} = {sum(map(int, tens))}")
    return ", ".join(steps) + f", so {a + b}."


def sum_turn(rng, split):
    def make():
        a, b = number(rng), number(rng)
        # Both orders of a pair are on the same side.
        return ("sum", min(a, b), max(a, b)), (a, b)
    a, b = pick(rng, make, split)
    form = rng.choice(SUM_FORMS)
    return [Turn("user", form.format(a=a, b=b)), Turn("assistant", column_sum(a, b), "addition")]


def chat_sum(rng, split):
    turns = []
    for _ in range(rng.randint(1, 4)):
        turns += sum_turn(rng, split)
    return turns


# ------------------------------------------------------------------- sorting

SORT_FORMS = [
    "Sort these letters: {x}", "Sort: {x}", "Sort the letters {x}.", "Put these letters in order: {x}",
    "Please sort {x}", "Can you sort these letters: {x}?", "Sort {x} alphabetically.", "Alphabetical order of {x}?",
]


def sort_turn(rng, split):
    def make():
        letters = rng.sample("abcdefghijklmnopqrstuvwxyz", rng.randint(3, 6))
        return ("sort", *sorted(letters)), letters
    letters = pick(rng, make, split)
    joined = rng.choice([" ", " ", " ", ", "]).join(letters)
    return [Turn("user", rng.choice(SORT_FORMS).format(x=joined)), Turn("assistant", " ".join(sorted(letters)), "sorting")]


def chat_sort(rng, split):
    turns = []
    for _ in range(rng.randint(1, 4)):
        turns += sort_turn(rng, split)
    return turns


# --------------------------------------------------- definitions, small talk

ASK = [
    "What is {t}?", "what is {t}", "What's {t}?", "What does {t} mean?", "Explain {t}.", "Define {t}.",
    "Tell me about {t}.", "Can you explain {t}?", "What do you know about {t}?", "Tell me what {t} is.",
    "Please explain {t}.", "I do not know what {t} is.", "Describe {t}.", "{t}?", "What is meant by {t}?",
    "Could you tell me what {t} is?", "Give me a definition of {t}.", "What is {t} in one sentence?",
    "Hi, what is {t}?", "I read about {t}. What is it?", "How would you define {t}?", "explain {t} please",
]


def glossary_turn(rng, split):
    def make():
        i = rng.randrange(len(GLOSSARY))
        term = rng.choice(GLOSSARY[i][0])
        ask = rng.choice(ASK)
        return ("glossary", term, ask), (ask.format(t=term), GLOSSARY[i][1])
    question, answer = pick(rng, make, split)
    return [Turn("user", question[0].upper() + question[1:] if rng.random() < 0.5 else question), Turn("assistant", answer, "definitions")]


def chat_glossary(rng, split):
    turns = []
    for _ in range(rng.randint(1, 3)):
        turns += glossary_turn(rng, split)
    return turns


def dress(rng, text):
    """The same words as people type them: with a greeting, in lower case, ..."""
    if rng.random() < 0.25:
        text = rng.choice(["Hi! ", "Hello, ", "Please: ", "OK. ", "Now: ", "So, ", "One question: "]) + text
    if rng.random() < 0.25:
        text = text.lower()
    if rng.random() < 0.25:
        text = text.rstrip("?.!")
    return text


def small_talk_turn(rng, split):
    def make():
        asked, answer = rng.choice(SMALL_TALK)
        question = dress(rng, rng.choice(asked))
        return ("talk", question), (question, answer)
    question, answer = pick(rng, make, split)
    return [Turn("user", question), Turn("assistant", answer, "small talk")]


def chat_small_talk(rng, split):
    turns = []
    for _ in range(rng.randint(1, 2)):
        turns += small_talk_turn(rng, split)
    return turns


# --------------------------------------------------------------------- chats

# Shares of chats. Most tokens go to the tasks that have to be computed rather
# than remembered.
MIX = {
    "facts": (chat_facts, 0.60),
    "self": (chat_self, 0.06),
    "sum": (chat_sum, 0.12),
    "sort": (chat_sort, 0.08),
    "glossary": (chat_glossary, 0.07),
    "small talk": (chat_small_talk, 0.07),
}


def make_chat(rng, split="train", mix=None):
    """One chat of one subject, of two or three, or (one in ten) of many."""
    mix = mix or {k: share for k, (_, share) in MIX.items()}
    kinds, shares = list(mix), list(mix.values())
    turns = []
    subjects = rng.choices([1, rng.randint(2, 3), rng.randint(4, 7)], [0.6, 0.3, 0.1])[0]
    told = set()
    for _ in range(subjects):
        kind = rng.choices(kinds, shares)[0]
        # Facts are told once a chat: told again, a key could have two values.
        if kind not in told:
            turns += MIX[kind][0](rng, split)
        told |= {kind} & {"facts", "self"}
    if rng.random() < 0.25:
        turns.insert(0, Turn("system", rng.choice(SYSTEM)))
    return turns


def messages(turns):
    return [{"role": t.role, "content": t.text} for t in turns]


def test_prompts(per_task, fits, seed=7):
    """Held-out prompts, per_task of each task: (task, messages, answer). The
    earlier turns of a prompt carry their right answers; fits(messages) says
    whether the context is long enough."""
    rng = random.Random(seed)
    found = {}
    tasks = ["facts", "facts-earlier-turn", "addition", "sorting", "definitions", "small talk"]
    while any(len(found.get(t, {})) < per_task for t in tasks):
        turns = make_chat(rng, "test")
        for i, turn in enumerate(turns):
            if turn.role != "assistant" or turn.task not in tasks:
                continue
            bucket, prompt = found.setdefault(turn.task, {}), messages(turns[:i])
            if len(bucket) < per_task and fits(prompt):
                bucket.setdefault(repr(prompt), (turn.task, prompt, turn.text))
    return [item for t in tasks for item in found[t].values()]


if __name__ == "__main__":
    rng = random.Random(1)
    for _ in range(12):
        for turn in make_chat(rng):
            print(f"{turn.role:>9}: {turn.text}")
        print()
