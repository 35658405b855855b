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
CITIES = (
    "Paris London Rome Berlin Madrid Lisbon Vienna Prague Oslo Dublin Cairo Lima Tokyo Delhi "
    "Athens Warsaw Zurich Boston Denver Quito Seoul Nairobi Sydney Toronto Helsinki Lyon"
).split()
JOBS = (
    "baker|teacher|doctor|pilot|farmer|nurse|painter|plumber|lawyer|singer|sailor|tailor|chemist|"
    "dentist|driver|gardener|carpenter|librarian|cook|dancer|judge|writer|barber|miner"
).split("|")
FOODS = (
    "soup bread cheese rice pasta apples pears plums cherries pancakes salad honey cake fish "
    "beans olives carrots noodles pizza yoghurt grapes dumplings"
).split()
PETS = "cat dog horse parrot rabbit hamster turtle goat".split()
PET_NAMES = "Biscuit Pepper Shadow Luna Rocky Ginger Max Bella Coco Daisy Milo Oreo Rex Ruby Simba Toby".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SYLLABLES = "ba be bo da de do fa fi ga go ka ki ko la le li lo ma mi mo na ne no pa pe po ra ri ro sa se so ta te to va vi wo za zu".split()

SYSTEM = [
    "You are a helpful assistant.",
    "You are the phiquant demo.",
    "You are a very small Phi model. Answer briefly.",
    "Answer in one sentence.",
    "Answer the question of the user.",
    "You are a helpful AI assistant. Be brief and exact.",
]


def name(rng):
    """Mostly a known name; sometimes an invented one, so that copying is learnt."""
    if rng.random() < 0.9:
        return rng.choice(NAMES)
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()


def distinct(rng, make, n):
    found = []
    while len(found) < n:
        item = make()
        if item not in found:
            found.append(item)
    return found


def a(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def lower_start(text):
    return text[0].lower() + text[1:]


# -------------------------------------------------------------- fact look-up
# A family makes n facts of one kind. Each fact is (statement, key, questions,
# answer); key is what is hashed for the held-out side.


def things(rng, n):
    """'the red key'-like noun phrases, no two with the same noun and colour."""
    def make():
        noun = rng.choice(OBJECTS)
        return f"the {rng.choice(COLOURS)} {noun}" if rng.random() < 0.6 else f"the {noun}"
    # A bare noun beside a coloured one of the same noun would be ambiguous.
    while True:
        found = distinct(rng, make, n)
        bare = {t.split()[-1] for t in found if len(t.split()) == 2}
        if all(len(t.split()) == 2 or t.split()[-1] not in bare for t in found):
            return found


def where_facts(rng, n):
    for thing, place in zip(things(rng, n), rng.sample(PLACES, n)):
        who = name(rng)
        statement = rng.choice([
            f"{who} put {thing} {place}.", f"{thing.capitalize()} is {place}.",
            f"{who} left {thing} {place}.", f"You can find {thing} {place}.",
        ])
        yield statement, (thing, place), [
            f"Where is {thing}?", f"Where can I find {thing}?", f"Tell me where {thing} is."
        ], f"{thing.capitalize()} is {place}."


def owner_facts(rng, n):
    for thing, who in zip(things(rng, n), distinct(rng, lambda: name(rng), n)):
        statement = rng.choice([f"{who} has {thing}.", f"{who} took {thing}.", f"{thing.capitalize()} is with {who}."])
        yield statement, (thing, who), [
            f"Who has {thing}?", f"Tell me who has {thing}.", f"Do you know who has {thing}?"
        ], f"{who} has {thing}."


def colour_facts(rng, n):
    for who, colour in zip(distinct(rng, lambda: name(rng), n), rng.sample(COLOURS, n)):
        noun = rng.choice(OBJECTS)
        statement = rng.choice([f"{who}'s {noun} is {colour}.", f"{who} has {a(colour)} {noun}.", f"The {noun} of {who} is {colour}."])
        yield statement, (who, noun, colour), [
            f"What colour is {who}'s {noun}?", f"What is the colour of {who}'s {noun}?", f"Which colour is {who}'s {noun}?"
        ], f"{who}'s {noun} is {colour}."


def person_facts(rng, n):
    """City, job, food or day; the people differ, the kind may differ too."""
    people = distinct(rng, lambda: name(rng), n)
    kinds = [rng.randrange(4)] * n if rng.random() < 0.5 else [rng.randrange(4) for _ in people]
    for who, kind in zip(people, kinds):
        if kind == 0:
            city = rng.choice(CITIES)
            yield rng.choice([f"{who} lives in {city}.", f"{who} has a flat in {city}.", f"The home of {who} is in {city}."]), (who, city), [
                f"Where does {who} live?", f"In which city does {who} live?", f"Which city does {who} live in?"
            ], f"{who} lives in {city}."
        elif kind == 1:
            job = rng.choice(JOBS)
            yield rng.choice([f"{who} is a {job}.", f"{who} works as a {job}."]), (who, job), [
                f"What does {who} do?", f"What is the job of {who}?", f"What is {who}'s job?"
            ], f"{who} is a {job}."
        elif kind == 2:
            food = rng.choice(FOODS)
            yield rng.choice([f"{who} likes {food}.", f"{who} loves to eat {food}."]), (who, food), [
                f"What does {who} like?", f"What does {who} like to eat?", f"Which food does {who} like?"
            ], f"{who} likes {food}."
        else:
            day = rng.choice(DAYS)
            yield rng.choice([f"{who} arrives on {day}.", f"{who} will come on {day}."]), (who, day), [
                f"When does {who} arrive?", f"On which day does {who} arrive?", f"When will {who} come?"
            ], f"{who} arrives on {day}."


def pet_facts(rng, n):
    people = distinct(rng, lambda: name(rng), n)
    for who, pet_name in zip(people, rng.sample(PET_NAMES, n)):
        pet = rng.choice(PETS)
        statement = rng.choice([f"{who} has a {pet} called {pet_name}.", f"{who}'s {pet} is called {pet_name}.", f"The {pet} of {who} is called {pet_name}."])
        yield statement, (who, pet, pet_name), [
            f"What is {who}'s {pet} called?", f"What is the name of {who}'s {pet}?", f"Tell me the name of {who}'s {pet}."
        ], f"{who}'s {pet} is called {pet_name}."


def code_facts(rng, n):
    for noun in rng.sample(OBJECTS, n):
        code = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 4)))
        statement = rng.choice([f"The code of the {noun} is {code}.", f"The {noun} has the code {code}.", f"The number of the {noun} is {code}."])
        noun_word = "number" if "number" in statement else "code"
        yield statement, (noun, code), [
            f"What is the {noun_word} of the {noun}?", f"Tell me the {noun_word} of the {noun}."
        ], f"The {noun_word} of the {noun} is {code}."


FAMILIES = [where_facts, where_facts, owner_facts, colour_facts, person_facts, person_facts, pet_facts, code_facts]


def fact_set(rng, split):
    """2-5 facts, often of one family so that they are easy to mix up, and
    which of them may be asked on this side of the split."""
    n = rng.randint(2, 4)
    facts = list(rng.choice(FAMILIES)(rng, n))
    if rng.random() < 0.3:
        extra = rng.choice(FAMILIES)
        used = " ".join(f[0] for f in facts)
        for fact in extra(rng, 1):
            # A second fact about the same person or thing could be ambiguous.
            if not any(str(part).split()[-1] in used for part in fact[1]):
                facts.append(fact)
    rng.shuffle(facts)
    wanted = split == "test"
    return facts, [f for f in facts if held(*f[1]) == wanted]


SELF = {
    "name": (["My name is {v}.", "I am {v}.", "I am called {v}."], ["What is my name?", "Do you remember my name?", "What am I called?"], "Nice to meet you, {v}.", "Your name is {v}."),
    "city": (["I live in {v}.", "My home is in {v}."], ["Where do I live?", "In which city do I live?"], "Noted.", "You live in {v}."),
    "colour": (["My favourite colour is {v}.", "The colour that I like best is {v}."], ["What is my favourite colour?", "Which colour do I like best?"], "Noted.", "Your favourite colour is {v}."),
    "food": (["I like {v}.", "My favourite food is {v}."], ["What do I like to eat?", "What is my favourite food?"], "Noted.", "Your favourite food is {v}."),
    "job": (["I am a {v}.", "I work as a {v}."], ["What is my job?", "What do I do for a living?"], "Noted.", "You are a {v}."),
}
SELF_VALUES = {"city": CITIES, "colour": COLOURS, "food": FOODS, "job": JOBS}


def self_fact(rng, split, kind):
    def make():
        value = name(rng) if kind == "name" else rng.choice(SELF_VALUES[kind])
        i = rng.randrange(len(SELF[kind][0]))
        j = rng.randrange(len(SELF[kind][1]))
        return ("self", kind, value, i, j), (value, i, j)
    value, i, j = pick(rng, make, split)
    told, asked, reply, answer = SELF[kind]
    return told[i].format(v=value), reply.format(v=value), asked[j], answer.format(v=value)


def chat_facts(rng, split):
    """All facts in the first message, the questions there or in later turns."""
    while True:
        facts, askable = fact_set(rng, split)
        if askable:
            break
    rng.shuffle(askable)
    told = " ".join(f[0] for f in facts)
    turns = []
    asked = askable[: rng.randint(1, 4)]
    if rng.random() < 0.3:
        intro = rng.choice(["", "Remember this: ", "Please remember: ", "Here is what I know. "])
        turns += [Turn("user", intro + told), Turn("assistant", "Noted.", "ack")]
        first, task = "", "facts-earlier-turn"
    else:
        first, task = told + rng.choice([" ", " ", "\n"]), "facts"
    for fact in asked:
        question = rng.choice(fact[2])
        if not first and rng.random() < 0.15:
            question = "And " + lower_start(question)
        turns += [Turn("user", first + question), Turn("assistant", fact[3], task)]
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
    "facts": (chat_facts, 0.50),
    "self": (chat_self, 0.06),
    "sum": (chat_sum, 0.18),
    "sort": (chat_sort, 0.10),
    "glossary": (chat_glossary, 0.08),
    "small talk": (chat_small_talk, 0.08),
}


def make_chat(rng, split="train", mix=None):
    """One chat of one subject, of two or three, or (one in ten) of many."""
    mix = mix or {k: share for k, (_, share) in MIX.items()}
    kinds, shares = list(mix), list(mix.values())
    turns = []
    subjects = rng.choices([1, rng.randint(2, 3), rng.randint(4, 7)], [0.6, 0.3, 0.1])[0]
    for _ in range(subjects):
        turns += MIX[rng.choices(kinds, shares)[0]][0](rng, split)
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
