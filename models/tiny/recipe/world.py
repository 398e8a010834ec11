"""The little world that the bundled model knows: a generator of conversations.

Facts are stated, time passes (stories, small talk, other facts), and the questions can only be answered by attending
back to the right tokens. Training uses some seeds of the generator, evaluation others: the facts of a conversation are
drawn anew each time, so that an answer can be read in the context but not remembered from training.

A conversation is a list of (role, text); render() writes it in the ChatML form that the model was trained on.
"""
import random

NAMES = ("Ada Amir Anna Arlo Bea Ben Bo Carl Cleo Dana Dev Ed Ella Emil Eva Fay Finn Flo Gus Hana Hugo Ida Ines Iris "
         "Jack Jana Jin Joe June Kai Kate Ken Lars Lea Leo Lily Lou Luca Mae Max Mia Milo Mira Ned Nell Nia Nils Noa "
         "Nora Olaf Omar Otis Otto Pam Paul Pia Quinn Ravi Remy Rita Rob Rosa Ruth Sam Sara Sid Sol Sue Tara Ted Tess "
         "Tim Tom Uma Una Val Vera Vic Wes Will Yara Yuki Zack Zara Zoe").split()
ANIMALS = ("cat dog fox owl hen goat duck frog bear wolf deer mouse rabbit pony horse cow sheep goose swan crow otter "
           "seal turtle snail bee ant whale lion tiger monkey parrot hedgehog squirrel badger mole bat lizard "
           "snake crab").split()
COLORS = "red blue green yellow pink purple orange brown black white gray gold silver violet teal".split()
OBJECTS = ("key ball book box cup hat coat lamp drum bell kite boat map coin ring rope clock spoon knife plate basket "
           "bucket ladder hammer pencil letter mirror pillow blanket bottle brush button candle chair table jar kettle "
           "ribbon stone shell feather flute whistle lantern compass wheel puzzle doll robot scarf glove boot "
           "umbrella").split()
PLACES = ("kitchen garden garage attic barn school library park market forest beach harbor station museum bakery tower "
          "castle cave valley meadow river lake hill island bridge village church theater hospital farm cabin tent "
          "cellar workshop office temple desert jungle").split()
FOODS = ("apple bread cheese soup cake pie plum pear rice honey jam milk carrot potato pasta salad melon cherry corn "
         "bean egg fish pizza cookie pancake muffin noodle peach grape lemon").split()
ADJECTIVES = ("small big old new shiny dusty quiet loud soft warm cold bright dark happy sad brave shy clever kind "
              "lazy busy funny gentle hungry tired round tiny tall broken clean dirty lucky strange simple pretty "
              "heavy").split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SEASONS = "spring summer autumn winter".split()
JOBS = ("baker farmer doctor teacher sailor painter singer pilot driver cook gardener builder writer dancer "
        "nurse").split()
WEATHER = "sunny rainy windy cloudy snowy foggy stormy warm cold".split()
CAPITALS = dict(France="Paris", Spain="Madrid", Italy="Rome", Germany="Berlin", Portugal="Lisbon", Norway="Oslo",
                Sweden="Stockholm", Finland="Helsinki", Denmark="Copenhagen", Poland="Warsaw", Austria="Vienna",
                Greece="Athens", Egypt="Cairo", Japan="Tokyo", China="Beijing", India="New Delhi", Kenya="Nairobi",
                Ghana="Accra", Peru="Lima", Chile="Santiago", Cuba="Havana", Canada="Ottawa", Ireland="Dublin",
                Hungary="Budapest", Turkey="Ankara", Iran="Tehran", Iraq="Baghdad", Nepal="Kathmandu",
                Thailand="Bangkok", Vietnam="Hanoi", Mexico="Mexico City", Brazil="Brasilia", Argentina="Buenos Aires")
SOUNDS = dict(cat="meow", dog="woof", cow="moo", sheep="baa", duck="quack", owl="hoot", crow="caw", horse="neigh",
              lion="roar", frog="ribbit", bee="buzz", snake="hiss", mouse="squeak", hen="cluck", goose="honk")

# What the assistant says to text that asks nothing.
ACKNOWLEDGEMENTS = ["Okay.", "I will remember that.", "Got it.", "Noted.", "Thank you for telling me."]
READ_IT = "I have read it."


def with_article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


class Generator:
    """An endless source of conversations; equal seeds give equal ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, choices):
        return self.random.choice(choices)

    def digits(self, n):
        return "".join(self.pick("0123456789") for _ in range(n))

    # ---- facts: (statement, question, answer) ----------------------------------------------------------------------

    def fact(self, used):
        """A fact about something that `used` does not hold yet; None when the dice keep falling on known things."""
        for _ in range(50):
            about, fact = self.pick(self.FACTS)(self, self.pick(NAMES))
            if about not in used:
                used.add(about)
                return fact
        return None

    def favorite_color(self, name):
        color = self.pick(COLORS)
        return ("color", name), (
            self.pick([f"{name}'s favorite color is {color}.", f"The color that {name} likes best is {color}."]),
            f"What is {name}'s favorite color?", f"{name}'s favorite color is {color}.")

    def home(self, name):
        place = self.pick(PLACES)
        return ("lives", name), (
            self.pick([f"{name} lives near the {place}.", f"The home of {name} is near the {place}."]),
            f"Where does {name} live?", f"{name} lives near the {place}.")

    def pet(self, name):
        animal, pet = self.pick(ANIMALS), self.pick(NAMES)
        return ("pet", name), (f"{name} has {with_article(animal)} called {pet}.", f"What is {name}'s {animal} called?",
                               f"{name}'s {animal} is called {pet}.")

    def age(self, name):
        years = self.random.randrange(4, 99)
        return ("age", name), (f"{name} is {years} years old.", f"How old is {name}?", f"{name} is {years} years old.")

    def whereabouts(self, _):
        thing, place = f"{self.pick(COLORS)} {self.pick(OBJECTS)}", self.pick(PLACES)
        return ("where", thing), (
            self.pick([f"The {thing} is in the {place}.", f"Somebody left the {thing} in the {place}."]),
            f"Where is the {thing}?", f"The {thing} is in the {place}.")

    def code(self, _):
        place, code = self.pick(PLACES), self.digits(4)
        return ("code", place), (
            self.pick([f"The code for the {place} is {code}.", f"Remember: the {place} opens with code {code}."]),
            f"What is the code for the {place}?", f"The code for the {place} is {code}.")

    def favorite_food(self, name):
        food = self.pick(FOODS)
        return ("food", name), (self.pick([f"{name} loves {food}.", f"For lunch {name} always eats {food}."]),
                                f"What does {name} love to eat?", f"{name} loves {food}.")

    def job(self, name):
        job = with_article(self.pick(JOBS))
        return ("job", name), (f"{name} works as {job}.", f"What is {name}'s job?", f"{name} works as {job}.")

    def gift(self, name):
        thing = with_article(f"{self.pick(ADJECTIVES)} {self.pick(OBJECTS)}")
        giver = self.pick([other for other in NAMES if other != name])
        return ("gift", name), (f"{giver} gave {name} {thing}.", f"What did {giver} give {name}?",
                                f"{giver} gave {name} {thing}.")

    def visit(self, name):
        day, place = self.pick(DAYS), self.pick(PLACES)
        return ("visit", name), (f"{name} will visit the {place} on {day}.", f"When will {name} visit the {place}?",
                                 f"{name} will visit the {place} on {day}.")

    def phone_number(self, name):
        number = self.digits(6)
        return ("phone", name), (f"{name}'s number is {number}.", f"What is {name}'s number?",
                                 f"{name}'s number is {number}.")

    def count(self, _):
        things, place, n = self.pick(OBJECTS) + "s", self.pick(PLACES), self.random.randrange(2, 60)
        return ("count", place, things), (f"There are {n} {things} in the {place}.",
                                          f"How many {things} are in the {place}?",
                                          f"There are {n} {things} in the {place}.")

    FACTS = [favorite_color, home, pet, age, whereabouts, code, favorite_food, job, gift, visit, phone_number, count]

    # ---- filler and stories ----------------------------------------------------------------------------------------

    def sentence(self):
        """One sentence that nothing will be asked about."""
        name, other = self.pick(NAMES), self.pick(NAMES)
        adjective, other_adjective = self.pick(ADJECTIVES), self.pick(ADJECTIVES)
        animal, thing, other_thing = self.pick(ANIMALS), self.pick(OBJECTS), self.pick(OBJECTS)
        place, food = self.pick(PLACES), self.pick(FOODS)
        return self.pick([
            f"It was {with_article(self.pick(WEATHER))} day in {self.pick(SEASONS)}.",
            f"{name} walked to the {place} with {other}.",
            f"They saw {with_article(adjective)} {animal} under the {thing}.",
            f'"Look at that {adjective} {animal}!" said {name}.',
            f"{name} was {adjective} because the {thing} was {other_adjective}.",
            f"After that, {name} ate some {food} and felt {adjective}.",
            f"The {animal} ran away to the {place}.",
            f"{name} and {other} played with the {thing} all day.",
            f'"Can I have the {thing}?" asked {name}. "Yes," said {other}.',
            f"Nobody knew why the {place} was so {adjective}.",
            f"{name} put the {food} into the {other_thing} and smiled.",
            f"In the {place} there was {with_article(adjective)} {thing}.",
        ])

    def filler(self, n):
        return " ".join(self.sentence() for _ in range(n))

    def story(self, hero, kind, thing):
        """A story about an animal of that kind that looks for a thing; and questions with their answers."""
        pick = self.pick
        home, far, food = pick(PLACES), pick(PLACES), pick(FOODS)
        friend, helper = pick([name for name in NAMES if name != hero]), pick(ANIMALS)
        text = [
            pick([f"Once upon a time, there was {with_article(pick(ADJECTIVES))} {kind} named {hero}.",
                  f"Long ago, {with_article(pick(ADJECTIVES))} {kind} named {hero} lived near the {home}."]),
            f"{hero} loved {food} and lived by the {home}.",
            pick([f"One {pick(WEATHER)} day, {hero} lost {with_article(thing)}.",
                  f"One day, {hero} heard about {with_article(thing)}."]),
            f'"I must find the {thing}," said {hero}.',
            f"So {hero} went to the {far} and met {with_article(pick(ADJECTIVES))} {helper} named {friend}.",
            pick([f'"Have you seen {with_article(thing)}?" asked {hero}.', f'"Please help me," said {hero}.']),
            pick([f'"Yes," said {friend}. "It is in the {far}."', f'"I will help you," said {friend}.']),
            f"{hero} and {friend} looked behind the {pick(OBJECTS)} and under the {pick(OBJECTS)}.",
            f"At last {hero} found the {thing} in the {far}.",
            pick([f"{hero} was so happy and gave {friend} some {food}.",
                  f"{hero} thanked {friend} and they ate {food} together."]),
            f"Then {hero} went home to the {home} with the {thing}.",
            pick(["The end.", "They were friends ever after.", f"And {hero} slept well that night."]),
        ]
        questions = [
            (f"Who helped {hero}?", f"{friend} helped {hero}."),
            (f"What did {hero} find?", f"{hero} found the {thing}."),
            (f"What kind of animal was {hero}?", f"{hero} was {with_article(kind)}."),
            (f"Where did {hero} find the {thing}?", f"{hero} found the {thing} in the {far}."),
            (f"What food did {hero} love?", f"{hero} loved {food}."),
            (f"What kind of animal was {friend}?", f"{friend} was {with_article(helper)}."),
        ]
        return " ".join(text), questions

    # ---- conversations: lists of (role, text) ----------------------------------------------------------------------

    def facts(self, n_facts, max_filler, n_questions):
        """n_facts statements spread over several turns, each with up to max_filler sentences around it."""
        used, messages = set(), []
        facts = [fact for fact in (self.fact(used) for _ in range(n_facts)) if fact]
        told = 0
        while told < len(facts):
            step = self.pick([1, 1, 2, 3, 5])
            text = []
            for statement, _, _ in facts[told:told + step]:
                if max_filler and self.random.random() < 0.8:
                    text.append(self.filler(self.random.randrange(1, max_filler + 1)))
                text.append(statement)
            told += step
            messages += exchange(" ".join(text), self.pick(ACKNOWLEDGEMENTS))
            if self.random.random() < 0.5:
                messages += exchange(*self.pick(facts[:told])[1:])
        for fact in self.random.sample(facts, min(n_questions, len(facts))):
            messages += exchange(*fact[1:])
        return messages

    def document(self, n_sentences, n_needles, n_questions):
        """One long text with facts hidden in it, then questions."""
        used, text = set(), [self.sentence() for _ in range(n_sentences)]
        facts = [fact for fact in (self.fact(used) for _ in range(n_needles)) if fact]
        for fact in facts:
            text.insert(self.random.randrange(len(text) + 1), fact[0])
        messages = exchange("Read this text. " + " ".join(text), READ_IT)
        for fact in self.random.sample(facts, min(n_questions, len(facts))):
            messages += exchange(*fact[1:])
        return messages

    def lines(self, n_lines, n_questions):
        """A register, one entry a line: the line-retrieval task of long-context evaluations."""
        rows = {}
        while len(rows) < n_lines:
            rows[f"{self.pick(ADJECTIVES)}-{self.pick(OBJECTS)}"] = self.digits(5)
        register = "\n".join(f"line {key}: {value}" for key, value in rows.items())
        messages = exchange("Remember these lines.\n" + register, "Okay.")
        for key in self.random.sample(list(rows), min(n_questions, n_lines)):
            messages += exchange(f"What is in line {key}?", f"Line {key} has {rows[key]}.")
        return messages

    def pairs(self, n_pairs, n_questions):
        """Short keys and values: recall in its purest form."""
        rows = {}
        while len(rows) < n_pairs:
            key = self.pick("abcdefghjkmnpqrstuvwxyz") + self.pick("0123456789")
            rows[key] = self.digits(self.pick([2, 3, 4]))
        messages = exchange("Pairs: " + " ".join(f"{key}={value};" for key, value in rows.items()), "Okay.")
        for _ in range(n_questions):
            key = self.pick(list(rows))
            messages += exchange(f"{key}?", f"{key}={rows[key]}")
        return messages

    def story_time(self):
        """A wish for a story, the story, and perhaps questions about it."""
        hero, kind, thing = self.pick(NAMES), self.pick(ANIMALS), f"{self.pick(COLORS)} {self.pick(OBJECTS)}"
        wish = self.pick([f"Tell me a story about {with_article(kind)} named {hero}.",
                          f"Tell me a story about {with_article(kind)}.", "Tell me a story.",
                          f"Write a story about {hero} and {with_article(thing)}."])
        text, questions = self.story(hero, kind, thing)
        messages = exchange(wish, text)
        for question, answer in self.random.sample(questions, self.random.randrange(0, 4)):
            messages += exchange(question, answer)
        return messages

    def small_talk(self):
        messages = []
        for _ in range(self.random.randrange(1, 5)):
            messages += self.pick(self.SMALL_TALK)(self)
        return messages

    def capital(self):
        country = self.pick(list(CAPITALS))
        return exchange(f"What is the capital of {country}?", f"The capital of {country} is {CAPITALS[country]}.")

    def sound(self):
        animal = self.pick(list(SOUNDS))
        return exchange(f"What does {with_article(animal)} say?",
                        f"{with_article(animal).capitalize()} says {SOUNDS[animal]}.")

    def introduction(self):
        name = self.pick(NAMES)
        messages = exchange(self.pick([f"Hello, I am {name}.", f"Hi! My name is {name}."]),
                            f"Hello {name}! Nice to meet you.")
        if self.random.random() < 0.7:
            messages += exchange("What is my name?", f"Your name is {name}.")
        return messages

    def greeting(self):
        return exchange(self.pick(["Hello!", "Hi.", "Hello there."]),
                        self.pick(["Hello! How can I help you?", "Hi! How can I help you?"]))

    def identity(self):
        return exchange(self.pick(["Who are you?", "What are you?"]),
                        "I am a very small language model. I can tell stories and remember what you tell me.")

    def echo(self):
        words = " ".join(self.pick(OBJECTS) for _ in range(self.random.randrange(2, 7)))
        return exchange("Repeat after me: " + words, words)

    def addition(self):
        a, b = self.random.randrange(0, 20), self.random.randrange(0, 20)
        return exchange(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.")

    SMALL_TALK = [capital, sound, introduction, greeting, identity, echo, addition]

    def repetitions(self):
        messages = []
        for _ in range(self.random.randrange(1, 5)):
            n = self.random.randrange(3, 12)
            words = " ".join(self.pick(OBJECTS + ANIMALS + ADJECTIVES + NAMES) for _ in range(n))
            text = self.pick([self.digits(n), words, self.sentence()])
            messages += exchange("Repeat after me: " + text, text)
        return messages

    def conversation(self, scale):
        """Any of the above; `scale` is about the length of the longest document in sentences."""
        number = self.random.randrange
        x = self.random.random()
        if x < 0.15:
            return self.story_time()
        if x < 0.22:
            return self.small_talk()
        if x < 0.28:
            return self.repetitions()
        if x < 0.42:
            return self.pairs(number(3, max(4, scale)), number(4, 16))
        if x < 0.62:
            return self.facts(number(2, max(3, scale // 2)), self.pick([0, 1, 3]), number(2, 10))
        if x < 0.80:
            return self.document(number(3, max(4, scale)), number(2, max(3, scale // 3)), number(3, 12))
        return self.lines(number(3, max(4, scale)), number(3, 12))


def exchange(question, answer):
    return [("user", question), ("assistant", answer)]


def turns(messages):
    """(role, opening, text) of each message: what the model is trained on is opening + text."""
    return [(role, f"<|im_start|>{role}\n", f"{text}<|im_end|>\n") for role, text in messages]


def render(messages):
    return "".join(opening + text for _, opening, text in turns(messages))


if __name__ == "__main__":
    generator = Generator(1)
    for _ in range(6):
        print(render(generator.conversation(20)))
        print("=" * 80)
