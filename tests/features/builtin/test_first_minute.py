"""Questions about things that people hold up first: a cover, a package, a bill, a recipe, a bus stop, a cup of coffee."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import cv2
import numpy as np
import pytest

from server.features.builtin.codes import Code
from server.features.builtin.colours import worn
from server.features.builtin.compose import compose
from server.features.builtin.detector import Thing
from server.features.builtin.engine import colours_of
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES, language
from server.features.builtin.lines import Cell, Row, reading_order, row_of, sentences
from server.features.builtin.locate import colour_boxes
from server.features.builtin.speaker import Facts, Shares
from server.features.builtin.wants import Want
from server.media.picture.grounding import Box
from tests.features.builtin.test_compose import (
    ALL_READ,
    BRIGHT,
    NO_ROW,
    TUESDAY,
    UNSURE,
    cells,
    said_of,
)
from tests.features.builtin.test_fields import piece, rows_of

COVER = rows_of("The Salt Ferry", "A NOVEL", "Imogen Harcastle")
OATS = rows_of(
    *("Honey Hoops", "Ingredients: wholegrain oat flour (61 %), sugar, wheat flour, honey"),
    *("(6 %), maize starch, almonds (2 %), salt.", "May contain traces of peanuts."),
    *("Net weight 375 g", "Best before: 14 MAR 2027", "Keep in a cool, dry place."),
)
TABLETS = rows_of(
    *("Cetorelin 10 mg", "30 tablets", "Relief of hay fever and allergies"),
    "Adults and children over 12: take one tablet once a day with water.",
    *("Children 6-12: half a tablet twice a day.", "Do not drink alcohol.", "Batch K2210"),
)
ERROR = rows_of(
    *("PhotoBox Updater", "The update could not be installed"),
    "There is not enough space on drive C. You need 3.2 GB, but only 640 MB are free.",
    *("Error code: 0x80070070", "Empty the recycle bin and try again.", "Retry", "Cancel"),
    "Details are in the log file of the program, in the folder of its own.",
)
LABEL = rows_of("Talla M", "70 % algodón", "25 % lana", "5 % elastano", "Lavar a máquina a 30 °C")
GAS = (
    Row("Norland Gas", 40, (Cell("Norland Gas", 0, 200),)),
    *rows_of("Mr Adam Whitlock", "8 Fernhill Close", "Account number: 6042 8817"),
    *rows_of("Bill date: 18 November 2026", "Invoice no. NG-339015", "Amount to pay: £142.67"),
    *rows_of("Please pay by 9 December 2026", "Late payments are charged £12."),
    *rows_of("Meter reading 3 November: 45 218 (estimated)", "Smell gas? Call us, day or night."),
)
CAFE = rows_of("Plat du jour : 13,90 €", "Ouvert de 8 h à 19 h, fermé le mardi")
PANCAKES = rows_of("Pancakes", "Serves 4", "200 g flour", "2 eggs", "Fry them in butter.")
STAIRS = rows_of(
    *("Staircase cleaning", "This week it is the turn of Mr Okafor, second floor."),
    *("The mop and the bucket are in the cellar.", "Next week: Family Brandt."),
)


SYRUP = rows_of(
    *("Tussalin Syrup", "for dry, tickly coughs · 150 ml", "Children under 12: do not give."),
    *("For more, ask your pharmacist.", "Shake well before use. Do not use for more than 5 days."),
    *("Contains honey flavour and maltitol. Sugar free.", "Wexcombe Healthcare, Swindon"),
)
LOAF = rows_of(
    *("Nana's Banana Bread", "(for one loaf, about 10 slices)", "3 ripe bananas", "190 g flour"),
    *("1. Heat the oven.", "2. Mash the bananas, stir in oil, eggs and sugar."),
)
WATER = (
    ("Tarn Valley Water",),
    ("Amount due", "£96.40"),
    ("Pay no later than", "14 December 2026"),
    ("How to pay: online or by phone",),
)
PARCEL = (
    ("PARCELROW RETURN",),
    ("SENDER", "RECIPIENT"),
    ("Callum Ferris", "Oakwell Shoes Ltd"),
    ("30 Mill Lane", "Swallow Way"),
    ("PR 4402 9917 385",),
)


HAYFEVER = rows_of(
    *("Pollenex 10 mg", "For hay fever and itchy eyes", "Not for children under 6."),
    *("Adults and children over 12: one tablet once a day.", "May cause sleepiness."),
    "Children 6 to 12: half a tablet twice a day.",
)
VOUCHER = (
    ("Gift Voucher",),
    ("£40",),
    ("To: Ingrid", "From: Paul and Tess"),
    ("Valid until 30 June 2027",),
)
BINS = (
    Row("Bin collection - December 2026", 40, row_of("Bin collection - December 2026").cells),
    *rows_of("Zone 4: Elm Road, Chapel Walk", "Black - general waste Wed 2 and Wed 16 December"),
    *rows_of(
        "Blue - paper and card Tue 8 and Tue 22 December", "Brown - food waste every Thursday"
    ),
    *rows_of(
        "Put them out before 6.30 am.",
        "No glass here.",
        "Christmas trees: Monday 11 January 2027",
        "Questions? Ask us.",
    ),
)


def stop(*rows: tuple[str, ...]) -> tuple[Row, ...]:
    """Return a stop's timetable: an hour, and its minutes from Monday to Friday, on Saturday and on Sunday."""
    heads = ("Uhr", "Montag-Freitag", "Samstag", "Sonntag")
    return tuple(
        Row(
            " ".join(filter(None, row)),
            20,
            tuple(
                Cell(text, 0 if not at else 200 * at, 20 if not at else 200 * at + 9 * len(text))
                for at, text in enumerate(row)
                if text
            ),
        )
        for row in (("42", "Richtung Hauptbahnhof"), heads, *rows)
    )


STOP = stop(
    ("6", "12 32 52", "42", ""),
    ("7", "02 17 32 47", "12 42", ""),
    ("8", "02 17 32 47", "12 42", "27"),
    ("", "12 32 52", "12 42", "27"),
    ("10", "12 32 52", "12 42", "27"),
    ("12", "12 32 52", "12 42", "27"),
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # Few words are told whole, where none is the answer for sure.
        ("Who wrote it?", COVER, f"{ALL_READ}The Salt Ferry · A NOVEL · Imogen Harcastle"),
        ("How many pages does it have?", COVER, ALL_READ),
        ("What's inside?", OATS, "I find no answer to that"),
        ("What make is it?", rows_of("FIRELLI", "GIRELLI"), "I can't tell more."),
        ("What product is it?", rows_of("5012345671239"), "I can't tell more."),
        # What it is made of, for, and what is to be done
        ("What is it made of?", OATS, f"{UNSURE}Ingredients: wholegrain oat flour (61 %), sugar, wheat flour, honey (6 %), maize starch, almonds (2 %), salt."),
        ("¿De qué está hecho?", LABEL, "Lo más cercano: 70 % algodón; 25 % lana; 5 % elastano"),
        ("What is this for?", TABLETS, f"{UNSURE}Relief of hay fever and allergies"),
        ("What is this for?", GAS, "I find no answer to that"),
        ("What should I do?", ERROR, f"{UNSURE}Empty the recycle bin and try again."),
        ("What is the red lever for?", (*ERROR, *rows_of("Red lever: stops the belt")), "stops the belt"),
        # What must not be eaten
        ("Are there nuts in it?", OATS, "almonds (2 %), salt.; May contain traces of peanuts."),
        ("Is it gluten free?", OATS, "wheat flour"),
        ("Does it contain milk?", rows_of("Tomato Soup", "Tomatoes, cream (4 %), sugar"), f"{UNSURE}Tomatoes, cream (4 %), sugar"),
        ("Does it contain milk?", rows_of("Tomato Soup", "Tomatoes, water, sugar"), "No, I do not read “milk”."),
        ("¿Llevan frutos secos?", rows_of("Ingredientes: avena, azúcar, almendras (6 %), sal.", "A", "B"), "almendras (6 %)"),
        # Bills
        ("When is it due?", GAS, "Please pay by 9 December 2026"),
        ("Who is it from?", GAS, f"{UNSURE}Norland Gas"),
        ("Who signed it?", GAS, "I find no answer to that"),
        ("When can I sow?", rows_of("Seeds", "Sow outdoors March to August", "Sow by 12/2028"), "March to August; Sow by"),
        ("Quel jour est-ce fermé ?", CAFE, "fermé le mardi"),
        # Recipes and lists
        ("How many people is it for?", PANCAKES, "It reads: Serves 4"),
        ("Pour combien de personnes ?", rows_of("Pour 6 personnes", "200 g de farine", "3 œufs"), "6 personnes"),
        ("How many eggs do I need?", rows_of("Shopping", "6eggs", "4 lemons"), "It reads: 6eggs"),
        ("Whose turn is it this week?", STAIRS, "the turn of Mr Okafor"),
        # A stop
        ("Wohin fährt der Bus?", STOP, "42 Richtung Hauptbahnhof"),
        ("Was kostet eine Fahrt?", rows_of("Tarifzone B", "Einzelfahrt 2,90 €", "Auskunft"), "„Einzelfahrt“ kostet 2,90 €."),
        ("Wann fährt der nächste Bus nach 7 Uhr am Samstag?", STOP, "Abfahrt ist um 7:12."),
        ("Wann fährt der letzte Bus am Sonntag?", STOP, "Abfahrt ist um 12:27."),
        ("Wann fährt der erste Bus?", STOP, "Abfahrt ist um 6:12."),
        ("Wann fährt morgen der erste Bus?", STOP, "Abfahrt ist um 6:12."),
        # An hour that is not read comes after the one above it; none is left out without a word.
        ("Wann fährt der nächste Bus nach 9 Uhr?", STOP, "Abfahrt ist um 9:12."),
        ("Wann fährt der nächste Bus nach 11 Uhr?", STOP, "Am nächsten kommt: Montag-Freitag 12:12 12:32 12:52"),
        ("When is the next bus to the zoo?", STOP, "I find no answer to that"),
        ("In che giorno sono chiusi?", rows_of("Primi", "Risotto € 12,50", "Chiuso il lunedì"), "Chiuso il lunedì"),
        # More of packages, bills and cards
        ("What's in it?", OATS, f"{UNSURE}Ingredients: wholegrain oat flour"),
        ("What is it for?", SYRUP, f"{UNSURE}for dry, tickly coughs"),
        ("How many bananas do I need?", LOAF, "It reads: 3 ripe bananas"),
        ("When do I have to pay?", cells(*WATER), "It reads: Pay no later than 14 December 2026"),
        ("C'est quand ?", rows_of("MARCHÉ DE NOËL", "12 ET 13 DÉCEMBRE 2026"), "La date est 12 ET 13 DÉCEMBRE 2026."),
        ("Who is it from?", cells(*PARCEL), f"{UNSURE}Callum Ferris, 30 Mill Lane"),
        ("Who is it for?", cells(*PARCEL), f"{UNSURE}Oakwell Shoes Ltd, Swallow Way"),
        ("Where do I send this?", cells(*PARCEL), "What I read"),
        # Ages, hours, senders
        ("How many should my 8 year old take?", HAYFEVER, "closest: Children 6 to 12: half a tablet twice a day."),
        ("Does it make you sleepy?", HAYFEVER, "May cause sleepiness."),
        ("Until when can I park?", rows_of("PAY & DISPLAY", "EXPIRES", "15:40", "28 NOV 2026"), "EXPIRES; 15:40"),
        ("Hoe laat vertrekt de bus?", rows_of("Beste ouders,", "De bus vertrekt om 9.15 uur bij school.", "Groeten"), "De bus vertrekt om 9.15 uur"),
        ("Who is it from?", cells(*VOUCHER), "From: Paul and Tess"),
        ("How much is it worth?", cells(*VOUCHER), "It costs £40."),
        ("How long is it valid?", cells(*VOUCHER), "It is good until 30 June 2027."),
        ("Para quem é?", cells(("Remetente", "Destinatário"), ("Maré Alta", "Beatriz Fontoura"), ("FRÁGIL",)), "Beatriz Fontoura"),
        ("What is it made of?", rows_of("70 % wool", "25 % polyamide", "5 % seacell", "Size M"), f"{UNSURE}70 % wool; 25 % polyamide; 5 % seacell"),
        ("When is the paper bin collected?", BINS, f"{UNSURE}Blue - paper and card Tue 8 and Tue 22 December"),
        ("When does the next bus leave after ten past 9?", STOP, "I find no answer to that"),
        ("Wann hat der Laden auf?", rows_of("Angebote gültig 30.11. - 5.12.2026", "Geöffnet Mo - Sa 7 - 21 Uhr"), "Geöffnet Mo - Sa 7 - 21 Uhr"),
        ("Hoe laat moet de bak aan de weg staan?", rows_of("GFT (groene bak) woensdag 2 en 16 december", "Zet de bak voor 7.30 uur aan de weg.", "Milieustraat: di t/m za 9–16 uur"), "Zet de bak voor 7.30 uur"),
        ("Hoe laat mag je de konijnen voeren?", rows_of("Open: 9.30 – 17.00 uur", "10.00 Konijnen voeren", "Geiten"), "10.00 Konijnen voeren"),
        ("Ont-ils de la bière ?", rows_of("Café 2 €", "Thé 3 €", "Eau 1 €"), "Ce que je lis : Café 2 €"),
        ("What do I need to buy?", rows_of("To buy", "2 x milk", "eggs (12)", "6 lemons and cat food"), f"{ALL_READ}To buy · 2 x milk"),
        ("When will the lift be fixed?", rows_of("Lift out of order", "It will be repaired on Thursday 3", "December between 8 and 9.", "Sorry!"), "repaired on Thursday 3 December between 8 and 9."),
        ("Chi chiamo per un guasto?", rows_of("Energia Lago", "Guasti: numero verde 800 555 019", "Grazie"), "avvicina: Guasti: numero verde 800 555 019"),
        ("How much does it cost to get in?", rows_of("Craft fair", "10 am - 4 pm", "Free entry."), "What comes closest: Free entry."),
        ("What's wrong?", rows_of("Print helper", "The printer could not be found", "Retry"), "The printer could not be found"),
        ("Hoe heet deze straat?", rows_of("Wilgenkade", "Rotterdam"), "Wilgenkade"),
    ],
)  # fmt: skip
def test_what_is_held_up_first(question: str, rows: tuple[Row, ...], answer: str) -> None:
    assert answer in said_of(question, rows)


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_language_asks_for_material_purpose_and_steps(code: str) -> None:
    for want in (Want.MATERIAL, Want.PURPOSE, Want.STEPS):
        first = language(code).questions[want.value].split(",")[0].rstrip("*")
        assert understand(f"{first}?", code).want is want


def test_the_next_bus_is_the_next_from_now() -> None:
    facts = Facts(BRIGHT, rows=STOP, codes=(), things=())
    said = compose(understand("When is the next bus?"), facts, TUESDAY, clock=dt.time(7, 20))
    assert said == "It leaves at 7:32.\nThe row reads: Montag-Freitag 7:02 7:17 7:32 7:47"


@pytest.mark.parametrize(
    "rows",
    [
        ("BUS 12", "07:51", "08:21", "17:41", "18:11"),
        ("07:51 08:21", "17:41 18:11"),
    ],
)
def test_a_list_of_times_alone_is_a_timetable(rows: tuple[str, ...]) -> None:
    """The next time is the first after now, and there is none after the last."""
    facts = Facts(BRIGHT, rows=tuple(rows_of(*rows)), codes=())
    for question, hour, answer in (
        ("When does the next bus leave?", 17, "It leaves at 17:41."),
        ("Wann fährt der nächste Bus?", 7, "Abfahrt ist um 07:51."),
        ("When is the first bus?", 17, "It leaves at 07:51."),
        ("When is the last bus?", 7, "It leaves at 18:11."),
    ):
        said = compose(understand(question), facts, TUESDAY, clock=dt.time(hour, 26))
        assert answer in said, question
    late = compose(understand("When is the next bus?"), facts, TUESDAY, clock=dt.time(19))
    assert "leaves" not in late


def test_a_blurred_picture_says_why_it_tells_nothing() -> None:
    facts = Facts(replace(BRIGHT, blurred=True), rows=(), codes=(), things=())
    assert "blurred" in compose(understand("Why can't you see it?"), facts, TUESDAY)


def test_a_cup_has_the_colour_around_the_coffee() -> None:
    """Seen from above it is a white ring; a black mug has no other."""
    picture = np.full((400, 400, 3), (235, 235, 235), np.uint8)
    cup = Thing("cup", 0.9, Box(100, 100, 300, 300), sure=True)
    cv2.circle(picture, (200, 200), 75, (20, 30, 40), -1)
    assert colours_of(picture, [cup], ["cup"])[0][0] == "white"
    picture[:] = (60, 140, 60)
    cv2.rectangle(picture, (104, 104), (296, 296), (20, 20, 20), -1)
    assert colours_of(picture, [cup], ["cup"])[0][0] == "black"
    # The box of a guitar is mostly of what is behind it.
    assert not colours_of(picture, [replace(cup, name="guitar")], ["guitar"])


def test_the_skys_light_and_shade_are_no_colours_of_a_thing() -> None:
    """A silver car is bluish under the sky, and a golden one brown in the shade; wood is brown."""
    car = Thing("car", 0.9, Box(100, 100, 300, 300), sure=True)

    def told(*parts: tuple[int, int, int]) -> set[str]:
        picture = np.full((400, 400, 3), (60, 140, 60), np.uint8)
        for at, part in enumerate(parts):
            picture[100 + 200 // len(parts) * at : 300, 100:300] = part
        return {name for name, _ in colours_of(picture, [car], ["car"])}

    silver, blue = (230, 210, 190), (200, 120, 60)
    assert told(silver) == {"white"}
    assert told(blue) == {"blue"}
    shade, lit, bright = (36, 84, 132), (36, 110, 200), (40, 170, 215)
    assert told(shade, shade, lit, bright, shade) == {"orange", "yellow"}
    assert told(shade, shade, shade, lit, lit) == {"brown", "orange"}


def test_all_colours_of_small_things_are_told() -> None:
    shares = (("white", 0.6), ("grey", 0.3), *((name, 0.03) for name in ("red", "blue", "green")))
    facts = Facts(BRIGHT, rows=(), codes=(), things=(), colours={"whole": shares})
    said = compose(understand("What colours do you see?"), facts, TUESDAY)
    assert said.startswith("I see white, grey, red, blue, green.")
    seen = Facts(BRIGHT, colours={"whole": shares}, spots=(("green", ("left",)),))
    said = compose(understand("Is there a green one?"), seen, TUESDAY)
    assert said.startswith("Yes, on the left it is green.")


def test_the_colour_of_a_wall_is_among_those_of_the_picture() -> None:
    shares = (("blue", 0.5), ("white", 0.3))
    facts = Facts(BRIGHT, rows=(), codes=(), things=(), colours={"whole": shares})
    said = compose(understand("What colour are the walls?"), facts, TUESDAY)
    assert said.startswith("I see blue, white.")


def test_the_lit_side_of_a_block_is_no_colour_of_its_own() -> None:
    """Its top is yellow by hue; a lemon beside it is yellow."""
    picture = np.full((360, 640, 3), (190, 190, 190), np.uint8)
    picture[200:300, 400:500] = (20, 140, 240)
    picture[180:200, 400:500] = (40, 180, 255)
    assert [box.label for box in colour_boxes(picture, ["orange", "yellow"])] == ["orange"]
    picture[150:210, 500:560] = (30, 220, 240)
    assert [box.label for box in colour_boxes(picture, ["yellow"])] == ["yellow"]


def test_what_somebody_can_do_is_in_print_or_asked_of_the_page() -> None:
    assert "Empty the recycle bin" in said_of("What can I do?", ERROR)
    assert said_of("What can I do?", ()) == language("en").say("help")


def test_what_a_code_is_for_is_what_it_says() -> None:
    assert understand("What is this code for?").want is Want.CODE
    assert understand("Wofür ist der Code?").want is Want.CODE
    assert understand("Is there an orange one?").things == ()


def test_a_text_beside_a_table_is_read_by_itself() -> None:
    """A package's ingredients and its nutrients; what is collected and when is one table."""
    left = ("Ingredients: oats, wheat flour,", "sugar, palm oil, golden syrup,", "salt and raising agent.", "Store in a cool, dry place.")  # fmt: skip
    right = (("Energy", "1985 kJ"), ("Fat", "20.4 g"), ("Sugars", "24.5 g"), ("Salt", "0.85 g"))
    print_ = [piece(text, 0, 40 * at, 400) for at, text in enumerate(left)]
    for at, (label, value) in enumerate(right):
        print_ += [piece(label, 500, 40 * at, 90), piece(value, 700, 40 * at, 90)]
    rows = [row.text for row in reading_order(print_)]
    assert rows == [*left, *(f"{label} {value}" for label, value in right)]
    bins = ("Black - general waste", "Blue - paper and card", "Green - garden waste", "Brown - food waste")  # fmt: skip
    days = ("Wed 2 and Wed 16 December", "Tue 8 and Tue 22 December", "Fri 4 December only", "every Thursday morning")  # fmt: skip
    print_ = [piece(text, 0, 40 * at, 300) for at, text in enumerate(bins)]
    print_ += [piece(text, 400, 40 * at, 300) for at, text in enumerate(days)]
    rows = [row.text for row in reading_order(print_)]
    assert rows == [f"{one} {day}" for one, day in zip(bins, days, strict=True)]


CAT = rows_of(
    *(
        "LOST CAT",
        "Please look in your sheds!",
        "Grey tabby, white paws, green collar with a bell.",
    ),
    *("Missing since Friday from Elm Grove.", "£50 reward", "Call Tamsin: 07700 900 482"),
)
PHARMACY = (
    Row("Apotheek De Vijzel", 40, (Cell("Apotheek De Vijzel", 0, 400),)),
    *rows_of("Amoxicilline 500 mg capsules", "3 keer per dag 1 capsule, 7 dagen lang"),
    *rows_of("Kuur afmaken. Innemen met een glas water.", "Arts: dr. Smeets"),
)
CUT_OFF = rows_of("Coupure d'eau", "L'eau sera coupée jeudi en raison de travaux.", "La mairie")
POOL_CLASSES = rows_of(
    *(
        "Monday 07:15 Lane swimming",
        "Each class £5.20. Book at the desk.",
        "Pool closed on Fridays.",
    ),
    *("Showers cost 20p.", "Lockers take a £1 coin."),
)
FORECAST = cells(("Sunday", "7° Cloudy"), ("Monday", "4° Snow"), ("Wednesday", "5° Sunny"))
NOODLES = rows_of(
    *("Chicken Noodles", "1. Open the lid to the line.", "2. Add boiling water to the mark"),
    *("(280 ml).", "3. Close and wait 3 minutes.", "May contain egg and sesame."),
)
NOTE = rows_of(
    "Hi Leo,", "Gone to Grandma's, back about", "7.", "Key is with Mrs Novak at no.", "12."
)
BOARDING = (
    *cells(("DATE", "02 DEC 2026"), ("TO", "LISBON LIS"), ("BOARDING TIME", "10:55")),
    *cells(("GATE", "B17")),
    *rows_of("Gate closes 15 minutes before departure."),
)
FEAST = (
    *rows_of("Junta de Freguesia de Alcains"),
    *(Row(text, 60, (Cell(text, 0, 300),)) for text in ("FESTA DA", "CASTANHA")),
    *rows_of("SÁBADO, 28 DE NOVEMBRO", "A partir das 15 horas", "Castanhas assadas e caldo verde"),
    *rows_of("Música ao vivo às 21h30", "Entrada livre", "Traga a família e os amigos!"),
)
REPAIRS = rows_of(
    *("Fahrradwerkstatt Pohl", "Datum: 19.11.2026", "Kette gewechselt 38,50 €"),
    *("Gesamtbetrag 145,00 €", "Zahlbar bis 10.12.2026 auf das Konto"),
)
MEDICINE = rows_of(
    "Adults and children over 12: 10 ml.", "Not for children under 6 years.", "Shake well."
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("What does the cat look like?", CAT, "closest: Grey tabby, white paws"),
        ("Hoe vaak moet ik dit innemen?", PHARMACY, "komt: 3 keer per dag 1 capsule"),
        ("Welk medicijn is dit?", PHARMACY, "Er staat: Amoxicilline 500 mg capsules"),
        ("Pourquoi ?", CUT_OFF, "en raison de travaux."),
        ("How deep is the pool?", POOL_CLASSES, "I can't tell more."),
        ("What's the weather like on the moon tomorrow?", FORECAST, "I can't tell more."),
        ("How much water do I need?", NOODLES, "2. Add boiling water to the mark (280 ml)."),
        ("Can I eat this if I'm allergic to eggs?", NOODLES, "closest: May contain egg"),
        ("When is she back?", NOTE, "Gone to Grandma's, back about 7."),
        ("Where is the key?", NOTE, "with Mrs Novak at no. 12"),
        ("When do I have to be at the gate?", BOARDING, "Gate closes 15 minutes before"),
        ("Where am I flying to?", BOARDING, "closest: LISBON LIS"),
        ("Onde é a festa?", FEAST, "não encontro a resposta"),
        ("Quanto custa a entrada?", FEAST, "Entrada livre"),
        ("Wie viel muss ich bezahlen?", REPAIRS, "Die Summe ist 145,00 €."),
        ("Wann kann ich das Rad abholen?", REPAIRS, "Mehr kann ich nicht sagen."),
        ("Can I give it to my 4 year old?", MEDICINE, "closest: Not for children under 6 years."),
        ("What size is it?", rows_of("Size L", "70 % wool", "Hand wash cold."), "it says L."),
    ],
)
def test_print_tells_by_other_words_than_the_questions(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_the_colour_of_clothes_is_that_below_the_face() -> None:
    """Of a portrait what is left below it; without room there is none."""
    picture = np.full((400, 400, 3), (200, 200, 200), np.uint8)
    face = Box(160, 40, 240, 140)
    picture[150:, 120:280] = (30, 30, 200)
    assert worn(picture, face)[0][0] == "red"
    portrait = Box(100, 60, 300, 300)
    picture[350:] = (200, 60, 30)
    assert worn(picture, portrait)[0][0] == "blue"
    assert worn(picture, Box(100, 100, 300, 390)) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What colour is her sweater?", "Below the face it is yellow."),
        ("De quelle couleur est sa chemise ?", "Sous le visage, c'est jaune."),
        ("What is she wearing?", "Below the face it is yellow."),
        ("What is he wearing on his head?", "I can't tell more."),
        ("What colour is his hat?", "I may miss it, but I do not see that: a hat."),
        ("Is she wearing a watch?", "I can't tell more."),
    ],
)
def test_what_somebody_wears_is_told_by_its_colour(question: str, answer: str) -> None:
    intent = understand(question)
    shares = (("yellow", 0.6), ("black", 0.2)) if intent.wears else ()
    person = Thing("person", 0.9, Box(0, 0, 300, 400), True)
    facts = Facts(BRIGHT, rows=(), codes=(), things=(person,), faces=1, worn=shares)
    assert answer in compose(intent, facts, TUESDAY)


BIN_TABLE = cells(
    ("1", "Thursday 3 December", "Blue - paper"),
    ("2", "Thursday 10 December", "Black - general waste"),
    ("3", "Thursday 17 December", "Green - glass"),
)
SUM_DUE = rows_of(
    *("Fernhill Energy", "Please pay £148.92 by 30 November 2026", "Gas used £81.76"),
    *("Electricity used £52.43", "Your next meter reading is due on 28 January 2027."),
)
SHELF = (
    *rows_of("Arabica Ground Coffee"),
    replace(cells(("Was£4.99", "£3.49"))[0], height=80),
    *rows_of("Any 2 for £6.00"),
)
DESCALE = rows_of(
    *(
        "How to descale your kettle",
        "1. Fill the kettle half full with water.",
        "Do this every six weeks.",
    ),
    *("3. Boil once, then wait 20 minutes.", "5. Rinse three times with cold water."),
    *("The light blinks red?", "There is too little water."),
)
CHART = (*rows_of("Visitors per day", "310", "260", "180"), *cells(("Thu", "Fri", "Sat")))
POSTER = rows_of(
    *("The Kiln Room presents", "Pottery for beginners", "Six Tuesday evenings", "6.45 pm to 9 pm"),
    *("£135 including clay", "Teacher: Ingrid Falk", "Only 10 places. Wear old clothes."),
    *("Book at kilnroom.example or call 020 7946", "0388", "Canal Yard 3, second floor"),
)
TEETH = rows_of("Tooth tablets", "24 tablets", "Adults and children over 12: one a day.")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("Which bin goes out on 10 December?", BIN_TABLE, "closest: 2 Thursday 10 December Black"),
        ("Which bin goes out on 11 December?", BIN_TABLE, "I can't tell more."),
        ("When is it due?", SUM_DUE, "30 November 2026"),
        ("How much do I have to pay?", SUM_DUE, "The total is £148.92."),
        ("How much is it?", SHELF, "It costs £3.49."),
        ("How much did the kettle cost?", DESCALE, "I find no price.\n"),
        ("How often should I do this?", DESCALE, "closest: Do this every six weeks."),
        ("Why does the light blink red?", DESCALE, "There is too little water."),
        ("How many visitors were there on Monday?", CHART, "I can't tell more."),
        ("Where is it?", POSTER, "Canal Yard 3, second floor"),
        ("Can I phone them?", POSTER, "020 7946 0388"),
        ("Can I give it to a 5 year old?", TEETH, "closest: Adults and children over 12"),
        ("How many servings are in the bag?", rows_of("Granola", "45 g with milk. The pack holds 11 servings.", "Close the bag."), "11 servings."),
        ("Where does this flight go?", BOARDING, "closest: LISBON LIS"),
        ("Dove va questo treno?", cells(("Biglietto", "2a classe"), ("Da", "Verona"), ("A", "Bologna"), ("Data", "12/12/2026")), "A Bologna"),
    ],
)  # fmt: skip
def test_rows_of_another_day_thing_or_kind_are_no_answer(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_a_light_a_code_and_food_are_looked_at() -> None:
    assert understand("Which light is on?").want is Want.OTHER
    assert understand("What kind of code is this?").want is Want.CODE
    cake = Thing("cake", 0.9, Box(0, 0, 300, 400), True)
    facts = Facts(BRIGHT, rows=(), codes=(), things=(cake,))
    assert compose(understand("What food is this?"), facts, TUESDAY) == "I see a cake."
    bird = Thing("bird", 0.9, Box(0, 0, 300, 400), True)
    facts = Facts(BRIGHT, rows=(), codes=(), things=(bird,))
    said = compose(understand("What bird is this?"), facts, TUESDAY)
    assert said == "A bird; I can't tell which."


def test_what_somebody_holds_is_no_face() -> None:
    facts = Facts(BRIGHT, rows=(), codes=(), things=(), faces=1)
    assert "face" in compose(understand("What do you see?"), facts, TUESDAY)
    assert "face" not in compose(understand("What am I holding?"), facts, TUESDAY)


SHAMPOO = rows_of(
    *("Repair shampoo · 300 ml", "No silicones. Not tested on animals.", "Lactose-free"),
    "Bottle made of 95 % recycled plastic.",
)
PESTO = rows_of(
    "Pesto alla genovese", "Ingredienti: basilico, anacardi, sale, aglio.", "Peso 190 g"
)
FAIR = rows_of(
    *(
        "Feira do Livro",
        "Mais de 60 editoras, livros a partir de 2 euros",
        "Entrada livre.",
        "Porto",
    )
)
TRAINS = cells(("17:14 Cambridge", "7", "Cancelled"), ("17:22 Reading", "11", "On time"))
AT_NUMBER_9 = rows_of(
    *("we have a parcel for you! It came at two. Ring at number", "9, we are home until 8."),
    "Joyce & Alan",
)
OPEN_MIC = rows_of("Open Mic", "Sign up at the bar from 7 pm.", "Over 18s only.", "Free entry")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("Does it contain silicones?", SHAMPOO, "closest: No silicones."),
        ("Does it contain lactose?", SHAMPOO, "closest: Lactose-free"),
        ("Does it contain plastic?", SHAMPOO, "Yes, it reads"),
        ("Where was it made?", SHAMPOO, "I can't tell more."),
        ("Contiene frutta a guscio?", PESTO, "anacardi"),
        ("Quanto custa a entrada?", FAIR, "Entrada livre."),
        ("How much is a ticket to Reading?", TRAINS, "I find no price."),
        ("Where is my parcel?", AT_NUMBER_9, "Ring at number 9, we are home"),
        ("Can I bring my 15-year-old?", OPEN_MIC, "closest: Over 18s only."),
        ("Which pet is the most popular?", rows_of("Favourite pets", "Dogs", "Cats", "Fish"), "I can't tell more."),
        ("Is there a message from Mum?", rows_of("21:47 63%", "Messages", "Work group 14:02", "Leo: ok", "Bank: sent"), "I can't tell more."),
    ],
)  # fmt: skip
def test_what_denies_or_is_of_another_kind_is_told_as_such(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_a_corner_is_no_place_of_a_colour() -> None:
    assert understand("What colour is the one in the top right corner?").place == "whole"
    assert understand("What colour is it at the top?").place == "top"


JAM = rows_of(
    "Plum jam", "Best before: 14 MAR 2027", "Once opened keep cold and use within 5 days."
)
SAFT = rows_of("Hustosaft", "Nicht länger als 7 Tage anwenden.", "Nach Anbruch 3 Monate haltbar.")
PARKING = rows_of(
    *("Pay & Display", "up to 1 hour £1.40", "up to 2 hours £2.60", "all day £7.00"),
    *("Wednesdays and bank holidays free.", "Motorcycles free in marked bays."),
)
SURGERY = rows_of(
    *("Dr Margit Holloway", "Flu jabs: last session Saturday 5 December, no appointment."),
    "Leaving the list before May costs £50.",
)
HOTEL = rows_of(
    *("Hotel Anker", "Breakfast from 7 to 10", "Check-out by 11", "Garden and terrace", "Room 214"),
)
PACK = (
    replace(rows_of("Cetorelin 24 tablets")[0], height=60),
    *rows_of("Relief of hay fever", "Take with water", "For adults", "Keep dry", "See leaflet"),
    *rows_of("Made in Malta", "Tablets may stain", "Batch K2"),
)
DISHES = rows_of("Dal (VG) 9.50", "Pie (V) 12.00", "Stew 14.00", "Soup (VG) 6.00")
TILL = cells(("TOTAL", "10.87"), ("CASH", "20.00"), ("CHANGE", "9.13"))
CARD = rows_of("Ann Roe", "Bookbinder", "Workshop 01273 555 018", "3 Brewery Yard, Lewes BN7 2ZZ")
GATES = rows_of("The Mere", "Gates close 9 pm,", "5 pm from November to February", "No swimming.")
WARDS = rows_of(
    "St Brann's Hospital", "Maternity", "Day surgery", "Main reception", "Café, 7.30 – 19.00"
)
CAKE = rows_of(
    *("Lemon cake", "225 g soft butter", "4 eggs", "Zest of 1 lemon", "1. Heat the oven."),
    "2. Beat the butter, add the eggs one by one.",
)
BOARDING = cells(("Gate", "B7"), ("Boarding", "09:25"), ("Departs", "10:05"), ("Seat", "18C"))
ERRORS = rows_of("Ready at 15:17", "Easy Care", "E18 pump blocked: clean filter", "E20 call us")
SUNDAYS = (*rows_of("Line 46", "Sundays"), *cells(("Harbour", "14:10", "14:40")))
BUSES = cells(("9:10", "Oslo"), ("12:40", "Oslo"), ("16:02", "Oslo"), ("17:10", "Bergen"))
DRINKS = (
    *cells(("Oat drink", "Rice drink"), ("1 litre", "1 litre")),
    *rows_of("£1.65"),
    *cells(("Soya drink", "Nut drink"), ("£2.25", "£1.45")),
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How long does it keep once I've opened the jar?", JAM, "use within 5 days."),
        ("How long is it good?", JAM, "It is good until 14 MAR 2027."),
        ("Wie lange ist die Flasche nach dem Öffnen noch gut?", SAFT, "Nach Anbruch 3 Monate"),
        ("How long does it keep after opening?", JAM[:2], "What I read"),
        ("Do I have to pay tomorrow?", PARKING, "closest: Wednesdays and bank holidays free."),
        ("Do I have to make an appointment for the flu jab?", SURGERY, "closest: Flu jabs"),
        ("What do I pay if I change to another list early?", SURGERY, "Leaving the list"),
        ("Is there a pool in this hotel?", HOTEL, "I do not find “pool” in what I read."),
        ("Is there a nice terrace?", HOTEL, UNSURE),
        ("How much money did I get back?", TILL, "The change is 9.13."),
        ("Where is the workshop?", CARD, "closest: 3 Brewery Yard, Lewes BN7 2ZZ"),
        ("When do the gates close?", GATES, "9 pm, 5 pm from November to February"),
        ("When can I visit somebody on the heart ward?", WARDS, "What I read"),
        ("When does the café open?", WARDS, "7.30 – 19.00"),
        ("Which is the cheapest?", DRINKS, "£1.45"),
        ("Vai chover nesse dia?", CAFE, "Não sei dizer mais."),
        ("How many eggs do I need?", CAKE, "It reads: 4 eggs"),
        ("What time do I have to be at the gate?", BOARDING, "closest: Boarding 09:25"),
        ("What is wrong when it shows E18?", ERRORS, "closest: E18 pump blocked: clean filter"),
        ("When is the next bus?", SUNDAYS, "closest: Sundays; Harbour 14:10 14:40"),
        ("When is the last bus to Oslo?", BUSES, "It leaves at 16:02."),
        ("When is the next bus to Oslo?", BUSES, "It leaves at 12:40."),
        ("When is the first bus to Oslo?", BUSES, "It leaves at 9:10."),
        ("Who do we call if something breaks?", STAIRS[:2] + rows_of("Repairs: phone Mr Lee", "Bins on Monday", "No bikes"), "closest: Repairs: phone Mr Lee"),
        ("What's on the second floor?", cells(("3", "Maternity"), ("2", "Radiology"), ("1", "Outpatients")), "closest: 2 Radiology"),
        ("Is there anything vegan?", DISHES, "closest: Dal (VG) 9.50; Soup (VG) 6.00"),
        ("Is the soup vegan?", DISHES, "closest: Soup (VG) 6.00"),
        ("What's the weather like tomorrow?", FORECAST, "closest: Wednesday 5° Sunny"),
        ("What's the weather like tomorrow?", rows_of("Quiz Wednesday", "Bar food", "Darts"), "I can't tell more."),
        ("Who is it from?", rows_of("Hi Jo", "Thanks for the lovely present you sent last week", "Bye,", "Mia"), ALL_READ),
        ("How many tablets are in the pack?", PACK, "24 tablets"),
        ("When is the trip?", rows_of("The cost of the trip is to be paid by 27 November", "Bring lunch", "Class 4"), "It reads: The cost"),
        ("What does it say about parking at night?", rows_of("Rose Park", "No fires", "No parking at night", "Dogs on leads"), "It reads: No parking"),
        ("Who can help me?", rows_of("Shop", "Help: ask at desk 4", "Sale"), ALL_READ),
        ("What is the net weight?", rows_of("Cola", "Net 330 ml"), "it says 330 ml"),
        ("Does it say stop?", rows_of("TOP", "Art"), "No, I do not read"),
        ("How much does it weigh?", rows_of("Per 100 g: 300 kcal", "Bag 375 g"), "375 g"),
        ("What is ticked?", rows_of("Feedback", "☑ Very good", "☐ Good"), "closest: ☑ Very good"),
        ("How old is she?", rows_of("Open from 8 am", "Emma, aged 7", "Call us"), "closest: Emma, aged 7"),
        ("How much should an 8 year old take?", rows_of("3 to 5 years 2.5 ml", "6 to 12 years 5 ml", "Adults 10 ml"), "closest: 6 to 12 years 5 ml"),
        ("What does it cost for an 8 year old?", rows_of("3 to 5 years £2", "6 to 15 years £4", "Adults £8"), "closest: 6 to 15 years £4"),
        ("Is that a fair price?", rows_of("Bike £80"), "I can't tell more."),
        ("When is the quiz?", rows_of("Quiz night", "Thursday 8 pm", "Party 31 December"), "closest: Quiz night; Thursday 8 pm"),
        ("How much is the lunch?", rows_of("Lunch before 5,60 €, now 4,50 €", "Tea 2,00 €"), "costs 4,50 €"),
        ("Was kostet das?", rows_of("Butter", "2,49 €", "1 kg = 9,96 €"), "Es kostet 2,49 €."),
        ("How much per kilo?", rows_of("Cheese £3.98 £7.96/kg"), "costs £7.96 per kg"),
        ("What is the total?", cells(("Total", "14.20"), ("Total discount", "31.00")), "The total is 14.20."),
        ("Is it open on Sunday?", rows_of("Library", "Weekdays 9-17"), "I find no row for that day"),
        ("Is it open on Sunday?", rows_of("Library", "Weekdays 9-17", "Weekend 10-14"), "Weekend 10-14."),
        ("Is it open now?", rows_of("Museum", "1 - 5 pm"), "No, not now"),
        ("Does it say wet paint?", rows_of("WET", "PAINT"), "Yes, it reads"),
        ("Is the link safe?", rows_of("Free beer", "tonight"), "I see no link here"),
        ("Where is it?", FEAST, "I find no answer"),
        ("What happens to my deposit if I cancel the booking early?", rows_of("Deposit £50", "Rooms", "Breakfast from 7"), ALL_READ),
        ("What does the colour red mean?", rows_of("Green: on", "Red: battery low"), "Red: battery low"),
    ],
)  # fmt: skip
def test_what_is_asked_is_not_taken_for_something_else(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_the_point_of_a_list_goes_on_below() -> None:
    """Its number stands apart; a row of a table goes on nowhere."""
    rules = cells(
        ("3", "Visitors are welcome in the lounge until"), ("10 pm.",), ("4", "Eye clinic")
    )
    assert [row.text for row in sentences(rules)] == [
        "3 Visitors are welcome in the lounge until 10 pm.",
        "4 Eye clinic",
    ]


def test_a_code_is_read_where_a_row_is_asked_for() -> None:
    """There is no other print, and nothing is said of it."""
    locker = Code("Locker 58 is yours until Sunday. Code 7301.", "QR Code")
    facts = Facts(BRIGHT, rows=(), codes=(locker,), things=())
    said = compose(understand("What's the code for the locker?"), facts, TUESDAY)
    assert said.startswith("The QR code says: Locker 58 is yours")
    assert "Hold it closer" not in said


FOUR_DIGITS = rows_of(
    "Saturdays",
    "Harbour Square 0810 0910 1410",
    "Larkfield Hospital 0842 0942 1442",
    "Sundays",
    "Larkfield Hospital 1008 1408 1808",
)
# Of what nobody asks, and more than an answer shows whole
DAYS = cells(
    ("Mon - Fri", "Saturday", "Sunday"), ("06:12", "07:05", "08:30"), ("14:05", "14:40", "14:50"), ("18:05", "18:40", "18:50")
)  # fmt: skip
LONG = (*["Bring a coat, shoes for wet ground and something to read on the way"] * 3, "Thank you")
BILL = cells(("Consumo", "19 m³"), ("Consumo de agua", "15,20 €"), ("TOTAL", "36,80 €"))
PRACTICE = (
    Row("Dr. med. K. Vossberg", 40, (Cell("Dr. med. K. Vossberg", 0, 300),)),
    *rows_of(
        "Fachärztin für Kindermedizin", "Mo-Fr 8-12", "Vertretung: Dr. Hallmann", *LONG, "Tschüss"
    ),
)
CARTE = (
    *rows_of("Soupe", "Salade", "Desserts", "Tarte aux pommes", "Crème caramel"),
    *rows_of("Service compris."),
)
DESSERTS = tuple(replace(row, apart=row.text in ("Desserts", "Service compris.")) for row in CARTE)
METER = rows_of("Pay and display", "Mon - Sat", "8 am - 6 pm", "Up to 1 hour £1.60", "Sundays free")
SAVINGS = rows_of(
    "Dear Mr Okafor",
    "To see our new deals, call the mortgage",
    "team on 0345 300 0199, Monday to Friday.",
    "A new deal takes ten working days.",
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # A question of when is answered by no row without a time, one of a platform by none without its word.
        ("How long is the drive to the castle?", rows_of("Trip to Stourley Castle", *LONG), "I find no figure for that."),
        ("What time do I have to leave the room?", rows_of("Welcome to room 214", *LONG), NO_ROW),
        ("How long does it go in the oven?", rows_of("1. Oven on at 170C", *LONG), NO_ROW),
        ("When is mum back?", rows_of("Gone to Gran's, back at 7.", "Love, Mum x", "Eat!"), "back at 7"),
        ("Da che binario parte?", rows_of("Parte il 02/12/2026 08:17", *LONG), "non trovo la risposta"),
        ("Is the bus wheelchair friendly?", rows_of("Town bus 7", "No buses on Sundays", *LONG), NO_ROW),
        ("Which platform does it leave from?", rows_of("Train 10:52 to Hull", "Not valid before 09:30", *LONG), NO_ROW),
        ("Wann fährt der nächste Bus?", rows_of("Markt 5:42", "Bahnhof 5:50", *LONG), "finde keine Antwort"),
        ("When does my flight to Rome leave?", rows_of("Departures", "14:55 Lisbon", "15:10 Dublin", "15:25 Oslo"), "I do not find “Rome” in what I read."),
        ("From when do we have to be silent at night?", rows_of("Night warden 07700 900 118", *LONG), NO_ROW),
        ("How old is Bo?", rows_of("Bo's plan: week 48 + 49", *LONG), NO_ROW),
        ("How warm can I wash it?", rows_of("Wash with similar colours", "Dry flat", *LONG), "I find no figure for that."),
        # What it says firmly has to be of the thing.
        ("Is it still good?", cells(("Dispensed 20/11/2026", "EXP 08/2028"), ("Keep dry", "Lot 7")), "good until 08/2028"),
        ("Can I park here?", rows_of("NOTICE", "DOUBLE", "PARKING", "PROHIBITED", "AT ALL TIMES"), "PROHIBITED"),
        ("¿Cuántos libros puedo llevarme?", rows_of("Biblioteca", "Préstamo: máximo 5 libros durante 21 días", "Aviso"), "máximo 5 libros"),
        ("Hoe heet de tandarts?", rows_of("Uw afspraak is op woensdag 9 december", "bij tandarts S. Bakker, kamer 3", *LONG), "S. Bakker"),
        ("Quels jours on les trouve au marché ?", rows_of("Fromage", "marché de Mauléon :", "mardi et samedi", "7,98 €"), "mardi et samedi"),
        ("How much is a stamp?", rows_of("Post office", "Passport check £16", *LONG), "I find no price for “stamp”.\nPrices that I read: Passport check £16."),
        ("How much did these cost?", rows_of("Ten free range eggs", "Best before 12 DEC", "Class A"), "I find no price."),
        ("Does it cost anything at eight in the evening?", rows_of("1 hour £1.80", "2 hours £3.40", "7 pm - 8 am free"), "closest: 7 pm - 8 am free"),
        # Another question's "when"
        ("What is wrong when it shows E18?", rows_of("E17 no water", "E18 pump blocked", "E20 door"), "E18 pump blocked"),
        ("Does it run on Christmas Day?", rows_of("Bus 7", "Day ticket £5.80", "No service on 25 December."), "No service on 25"),
        ("até que dia posso pagar isto?", rows_of("Valor a pagar 43,87€", "Pagar até 14 de dezembro de 2026", "Obrigado"), "14 de dezembro"),
        ("Are they open on New Year's Day?", rows_of("Thursday 10-18", "Friday 10-18", "Closed 24 December to 2 January"), "closest: Closed 24"),
        # Hours without a sign, as timetables have them; a number alone is none.
        ("When does it get to the hospital?", FOUR_DIGITS, "closest: Larkfield Hospital 0842 0942 1442; Larkfield Hospital 1008 1408 1808"),
        ("What time is it?", rows_of("Locker 0842", "Thanks"), "I find no time in print"),
        # What was used is told by no price.
        ("¿Cuánta agua he gastado?", BILL, "Dice: Consumo 19 m³"),
        ("Was für eine Ärztin ist das?", PRACTICE, "Kindermedizin"),
        ("Where do I have to sit?", cells(("Row", "H"), ("Seat", "23"), ("Price", "£34.00"), ("fee", "£3.50")), "says 23"),
        ("Do I have to pay now?", METER, "closest: Mon - Sat 8 am - 6 pm"),
        ("¿Hasta cuándo puedo devolverlo?", rows_of("Ferretería", "28/11/2026 11:08", "Cambios: 7 días con ticket"), "Cambios: 7 días"),
        ("What number can I ring about a new deal?", SAVINGS, "0345 300 0199"),
        ("What number do I ring?", rows_of("Blood tests", "Out of hours: ring 111", "Bring your list"), "111"),
        ("Tot hoe laat zijn ze donderdag open?", rows_of("woensdag 10.00 - 17.30", "donderdag 10.00 - 20.30", "Elke woensdag om 14.30 voorlezen"), "10.00 - 20.30"),
        ("Wo kann ich alte Farbe abgeben?", rows_of("Schadstoffmobil", "Farben, Lacke, Altöl", "Sa 10-13 Uhr"), "Farben, Lacke"),
        ("When can I visit my mother on the heart ward?", rows_of("Café, 7.30 – 19.00", "Robin Ward (children)", "Lifts"), "closest: Café"),
        ("Il y a du poisson ?", rows_of("Plats", "Poulet rôti 12 €", "Lasagnes 11 €", "Desserts", "Tarte 5 €", "Glace 4 €", "Café 2 €", "Thé 3 €", *LONG), "je ne trouve pas la réponse"),
        ("What do I do if the bulb is burned out?", rows_of("Bulb", "burned out?", "Yes", "No Replace bulb"), "Replace bulb"),
        ("What's the cheapest?", rows_of("Porridge £5.20", "Pancakes £7.80", "Gluten-free bread £0.80 extra"), "Porridge"),
        ("What kind of vehicle is this?", rows_of("ADUKTEN", "2", "WIADUKTEN", "strot", "Kolejowych", "0450"), "I can't tell more."),
        ("Qu'est-ce qu'il y a en dessert ?", DESSERTS, "Desserts; Tarte aux pommes; Crème caramel"),
        ("How much sugar does it have?", (*rows_of("Ingredients: rolled OATS 54%, sugar, HAZELNUTS 9%"), *cells(("of which sugars", "18.5g"), ("Fat", "16.2g"))), "18.5g"),
        ("How much electricity did I use?", cells(("612 kWh at 24.8p", "£151.78"), ("Standing charge", "£48.85"), ("Total", "£210.66")), "612 kWh"),
        ("How hot does the oven have to be?", rows_of("1. Heat the oven to 180 C (160 °C fan).", "2. Bake for 45 minutes.", "Keeps 4 days."), "180 C (160 °C fan)"),
        ("How much does it weigh?", (*rows_of("Use: 7 g per cup"), *cells(("Lot L26104", "250 g"))), "250 g"),
        ("Which line is it in?", rows_of('File "a.py", line 48, in <module>', 'File "a.py", line 31, in main', "KeyError: 'price'"), "line 31, in main"),
        ("Y a-t-il un plat végétarien ?", tuple(replace(row, apart=row.text == "Plats") for row in rows_of("Plats", "Blanquette de veau", "Lasagnes (végétarien)")), "Lasagnes (végétarien)"),
        ("What is this medicine for?", rows_of("Cetrolin 10 mg", "Film-coated tablets for hay fever", *LONG), "tablets for hay fever"),
        ("How many of these do I take?", rows_of("Cetrolin 10 mg", "Take ONE tablet ONCE a day.", *LONG), "ONE tablet ONCE a day"),
        ("How do I wash this?", rows_of("70% WOOL", "Do not bleach", "Hand wash cold (30°C)", "Dry flat"), "Hand wash cold"),
        ("Which bus is this?", cells(("42", "Harbour – Town Hall"), ("Harbour", "06:15"), ("Town Hall", "06:27")), "42 Harbour – Town Hall"),
        ("Can I get my money back?", rows_of("Order no. 60442", "No refunds", *LONG), "No refunds"),
        ("Can I bring stuff back?", rows_of("Total 15.01", "Returns within 28 days", *LONG), "Returns within 28 days"),
        ("What's this a recipe for?", (*rows_of("Lemon Drizzle Cake"), *rows_of("225 g butter", "Heat the oven.")), "Lemon Drizzle Cake"),
        ("Can I take the paint back?", rows_of("PAINT MIX 2.5L 24.50", "Paint mixed to order cannot be returned.", "RETURNS: 28 days", *LONG), "Paint mixed to order cannot be returned"),
        ("What is this medicine?", rows_of("Greenway Pharmacy", "Amoxicillin 500 mg capsules", "Take one a day.", *LONG), "It reads: Amoxicillin 500 mg"),
        ("Did I pay by card?", cells(("TOTAL", "13.67"), ("CASH", "20.00"), ("PENNY CARD", "POINTS EARNED: 13")), "CASH 20.00"),
        ("How warm is it in here?", rows_of("06:42 TUE", "SET 20.0 °C", "HEATING ON"), "closest: SET 20.0 °C"),
        ("What time does it get to the hospital?",
            (*cells(("47", "Oldbridge - Hospital"), ("Pine Road", "0922")), *rows_of(*LONG)),
            NO_ROW),
        ("What's the name of the restaurant?", rows_of("Scan for our menu", "The Blue Finch Bistro", "Table 14"), "The Blue Finch Bistro"),
        ("Where is my parcel?", rows_of("Sorry we missed you", "To: R. Castellan, 9 Tern Avenue", "☐ Collect from the depot", "☑ We left it with a neighbour"), "closest: ☑ We left it with a neighbour"),
        ("Where is the key?", rows_of("HIM IN, KEY IS UNDER THE", "BLUE POT. FEED BISCUIT", "TWICE."), "BLUE POT"),
        ("Dove devo sedermi?", cells(("Carrozza", "4"), ("Posto", "27 finestrino"), ("Classe", "2")), "27 finestrino"),
        ("Hat die Praxis heute offen?", (*cells(("Montag", "8:00 - 12:00"), ("Dienstag", "14:00 - 17:00"), ("Mittwoch", "8:00 - 12:00")), *rows_of("Praxis im 2. Stock")), "jetzt nicht"),
        ("How many calories per serving?", rows_of("GRANOLA", *LONG, "Oats, honey", "Best before May 2027", "500", "Made in Kent"), NO_ROW),
        ("What is in the parcel?", (*cells(("SwiftParcel", "Card no. 55 8102 7"), ("Date:", "26 November"), ("Driver:", "Kofi")), *rows_of(*LONG)), NO_ROW),
        ("My bulb is burned out, what should I do?", (*rows_of("Is the lamp not working?", "Bulb burned out?", "yes"), *cells(("no", "Replace bulb"))), "Replace bulb"),
        ("How fast are they going?", rows_of("2", "WIADUKTEN", "strot"), "I can't tell more."),
        ("When is the next bus?", cells(("Monday to Friday", "Saturday"), ("06:12 06:42", "08:22 08:52"), ("then every 30 min until", "09:22 09:52"), ("17:12", "18:22")), "It leaves at 12:12."),
        ("When is the last bus today?", cells(("Monday to Friday", "Saturday"), ("06:12 06:42", "08:22 08:52"), ("then every 30 min until", "09:22 09:52"), ("17:12", "18:22")), "It leaves at 17:12."),
        ("What time does it arrive in Oslo?", cells(("DEPARTURES", "14:32"), ("14:55", "Lisbon"), ("15:10", "Oslo")), "closest: 15:10 Oslo"),
        ("Where does this bus go?", cells(("Bus 47", "Harbour Road to Elmwood Hospital"), ("Stop:", "Cathedral Square")), "Harbour Road to Elmwood"),
        ("Which line is the error in?", cells(('File "shop.py"', "line 9,", "in <module>"), ('File "shop.py"', "line 6,", "in total"), ("ValueError: could", "not convert")), 'File "shop.py" line 6, in total'),
        ("Gdzie siedzę?", cells(("Rząd", "F"), ("Miejsce", "12"), ("ul. Długa 7", "Toruń")), "12"),
        ("Tot wanneer is het houdbaar?", cells(("Te houden tot", "09-01-2027"), ("Verpakt op", "25-11-2026")), "houdbaar tot 09-01-2027"),
        ("Zit er melk in?", rows_of("Oude kaas", "Bevat melk.", "Minimaal 10 maanden gerijpt."), "Er staat: Bevat melk."),
        ("What happens if I don't turn up?", rows_of("If you cannot come, call us.", "A missed appointment costs £25.", *LONG), "A missed appointment costs £25."),
        ("What's the next train?", cells(("DEPARTURES", "12:01"), ("12:35", "Ashby"), ("12:41", "Selwyn"), ("12:48", "Marden")), "It leaves at 12:35."),
        ("What files are there?", (*rows_of('File "report.py", line 27, in <module>', "KeyError: 'price'", "$ ls"), *cells(("notes.txt", "report.py", "sales.csv"))), "notes.txt report.py sales.csv"),
        ("Where is my parcel?", rows_of("Sorry we missed you!", "☐ Left with neighbour at no.", "☑ Taken to depot: Unit 5, Canal Park", "☐ We will try again"), "closest: ☑ Taken to depot: Unit 5, Canal Park"),
        ("When can I pick it up?", rows_of("Date: 27/11/2026 Time: 10:35", "☑ Taken to depot: Unit 5", "Collect from 28/11 after 12 noon.", "Depot open Mon - Sat 7 am to 7 pm."), "Collect from 28/11 after 12 noon."),
        ("Wo kann ich mein Paket abholen?", rows_of("Empfänger: Frau Hartwig, Ulmenweg 14", "Abholung ab Montag, 30.11.2026", "Kiosk Brandt, Lindenstraße 3", "Mo-Fr 7–19 Uhr"), "Kiosk Brandt, Lindenstraße 3"),
        ("Where do we stay?", rows_of("Breakfast from 7 to 10", "Parking 3 hours free", "We stay at the Mill Inn, Ford Lane"), "Mill Inn"),
        ("Can I park here for three hours?", rows_of("Pay here", "Mon - Sat 8 am - 6 pm", "Maximum stay 2 hours", "Blue badge holders free"), "closest: Maximum stay 2 hours"),
        ("What is this medicine for?", rows_of("Dolorex 400 mg", "24 tablets", "For headache, back pain, toothache and fever.", "Do not take more than 3 tablets in 24 hours."), "For headache, back pain"),
        ("What is this for?", rows_of("Cough syrup", "For adults and children over 6 years", "Shake well.", "10 ml", *LONG), NO_ROW),
        ("Where is this ticket to?", (*cells(("From", "WELBY", "Coach", "C"), ("To", "HAVERSTOCK", "Seat", "41A")), *rows_of("No. 48120-7736")), "HAVERSTOCK"),
        ("How many files did it want to copy?", rows_of("$ python3 backup.py", "Copying 248 files to /mnt/usb", "copy_all(src, dest)", "OSError: No space left"), "Copying 248 files"),
        ("O que há para crianças?", rows_of("FEIRA DO LIVRO", "Sexta 18h - Leitura", "Sábado 16h - Oficina para crianças", *LONG), "Oficina para crianças"),
        ("How do I wash it?", rows_of("Size M", "Hand wash cold", "Do not bleach", "Wash dark colours separately", "Art. 60417"), "Hand wash cold; Do not bleach; Wash dark colours separately"),
        ("How many ice creams were sold in May?", rows_of("Ice creams sold per month, 2025", "600", "510", "Apr May Jun", *LONG), NO_ROW),
        ("Until what time do I have to pay?", (*rows_of("Pay here", "Mon - Sat 8 am - 6.30 pm"), *cells(("All day", "£7.50"), ("1 hour", "£1.20"))), "6.30 pm"),
        ("A che ora ho pagato?", cells(("TOTALE EURO", "13,00"), ("RESTO", "2,00"), ("21-11-2026", "08:36")), "08:36"),
        ("Where is my parcel?", rows_of("Item", "1 parcel, too big for letterbox", "Where it is", "With neighbour at no. 9", "Not there? Collect it on Monday."), "closest: With neighbour at no. 9"),
        ("Where is my parcel?", rows_of("1 parcel", "To: R. Castellan, 9 Tern Avenue", "Collect it from Unit 6"), "closest: Collect it from Unit 6"),
        ("What's the cheapest drink?", (*rows_of("DRINKS"), *cells(("Pot of tea", "2.60"), ("Flat white", "3.30")), *rows_of("Oat milk +40p. Closed Mondays.")), "Pot of tea"),
        ("By when?", rows_of("Bill of November 2026", "Amount 84.20", "Please pay by 14.12.2026"), "The date is 14.12.2026."),
        ("Until when are they open on Thursday?", cells(("Mon - Wed", "9:00 - 18:00"), ("Thu", "9:00 - 20:00"), ("Sunday", "closed")), "it says: Thu 9:00 - 20:00"),
        ("Can I double park here?", rows_of("NOTICE", "DOUBLE", "PARKING", "PROHIBITED", "AT ALL TIMES"), "closest: NOTICE DOUBLE PARKING PROHIBITED AT ALL TIMES"),
        ("Ile kosztuje bilet dla dziecka?", cells(("bilet normalny", "18 zł"), ("bilet ulgowy (dzieci, studenci)", "12 zł")), "kosztuje 12 zł"),
        ("Até quando é válido?", rows_of("Café Serra", "Peso líquido 250 g", "Val.: 03/2027"), "É válido até 03/2027"),
        ("What number is the invoice for?", rows_of("Telefonrechnung", "01/09/2026-31/10/2026", "Nr. 7741"), "7741"),
    ],
)  # fmt: skip
def test_the_kind_of_what_is_asked_decides(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    """A row without a time, a place or a quantity is no answer to a question for one."""
    assert answer in said_of(question, rows)


CALL_CARD = rows_of(
    "Sendung: 1 Paket, 6,4 kg",
    "Fahrer: Tobias",
    "Filiale Lindenplatz 3, 35112 Marbach",
    *LONG,
)
TRACE = rows_of('File "report.py", line 27, in <module>', "KeyError: 'price'", "$ ls")
LOCKED = rows_of(
    "Monday closed",
    "Sunday closed",
    "Books can be returned at any time",
    "through the box by the side door.",
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # The weight of a parcel tells no place, and the days on which a library is closed no way in.
        ("Wo kann ich mein Paket abholen?", CALL_CARD, "kommt: Filiale Lindenplatz 3"),
        ("Wo kann ich mein Paket abholen?", CALL_CARD[:2] + rows_of(*LONG), "finde keine Antwort"),
        ("Where can I return a book when it's closed?", LOCKED, "by the side door."),
        ("What's in the parcel?", rows_of("Parcel no.: SL 8830 4417 02", *LONG), NO_ROW),
        # A box of a flow chart asks itself; below the question of a notice stands what to do.
        ("What if it is plugged in?", rows_of("Lamp", "Is it plugged in?", "Yes", "No", *LONG), NO_ROW),
        ("What if I lost my ticket?", rows_of("Lost your ticket?", "Ask at the desk.", *LONG), "it says Ask at the desk."),
        ("Can I bring a dog?", rows_of("Can I bring my dog?", "Yes, on a lead.", *LONG), "Can I bring my dog? · Yes, on a lead."),
        ("How many visitors in May?", rows_of("Visitors to the pool, 2025", "780", "Apr", "May", *LONG), NO_ROW),
        ("What's the error?", TRACE, "closest: KeyError: 'price'"),
        ("Which line is the error in?", TRACE, "closest: File \"report.py\", line 27"),
        ("What temperature is it set to?", rows_of("Set to 21.0°°C", "19.5°C Humidity 48%"), "it says 21.0°°C"),
        ("Do I need to change the battery?", rows_of("Menu", "Battery low", "Eco"), "closest: Battery low"),
        ("Where is the key?", rows_of("Please let him in - the key is with", "Mrs. Bright, flat 6.", "P"), "is with · Mrs. Bright, flat 6."),
        ("How much is it for 3 hours?", rows_of("Up to 1 hour £1.30", "Up to 2 hours £2.50", "Up to 4 hours £4.20", "All day £7.00"), "Up to 4 hours £4.20"),
        ("How much is it for 9 hours?", rows_of("Up to 1 hour £1.30", "Up to 4 hours £4.20", "All day £7.00"), "no price for “9 hours”"),
        ("What does my child need to bring?", rows_of("The trip costs £12.50 per child.", "Children need a packed lunch, a coat", "and wellington boots.", *LONG), "Children need a packed lunch, a coat and wellington boots."),
        ("Which day will they collect the bins?", rows_of("Change to your bin collection day", "Grey bins are green now", *LONG), NO_ROW),
        ("Which day will they collect the bins?", rows_of("Your bin collection day", "The bins will be collected on Thursdays.", *LONG), "collected on Thursdays"),
        ("What temperature?", rows_of("Lemon cake", "Serves 10", "225 g butter", "4 eggs", "1. Heat the oven to 170 C."), "It says 170 C."),
        ("¿Tengo que pagar los domingos?", rows_of("Zona azul", "Importe pagado 2,10 €", "Domingos gratis"), "cercano: Domingos gratis"),
        ("Where is my parcel?", rows_of("Parcel for: J. Brandt, Flat 5", "We left it next door", *LONG), NO_ROW),
        ("Where does tram 5 go?", rows_of("Tram 5", "Canal Street", "to Northfield Depot", *LONG), "closest: to Northfield Depot"),
        ("Which platform?", rows_of("Valid via Eddleston only.", "Platform: see screens", *LONG), "“Platform” it says see screens"),
        ("Until when can I bring things back?", rows_of("27/11/2026 18:42", "7 items", "Returns within 28 days", *LONG), "within 28 days"),
        ("What do I do if money was taken?", rows_of("Block the card", "Was money taken?", "no", "yes", *LONG), NO_ROW),
        ("What dish is this?", rows_of("Red lentil dal", "Serves 4", "250 g lentils"), "I read “Red lentil dal”."),
        ("Does it run on Sundays?", rows_of("Bus 27", "Monday to Friday", "07 08 28", "08 08 28", "Saturday", "08 25", "Sunday", "No service", *LONG), "closest: Sunday; No service"),
        ("When is my appointment?", rows_of("Your appointment has been changed.", "Dr Osei is away on 3 December, so we will now see you on", "Thursday 10 December 2026 at 9:40 am.", *LONG), "see you on Thursday 10 December 2026"),
        ("¿Cuánta luz he gastado?", rows_of("Factura", "Consumo 213 kWh", "Total 48,20 €"), "Consumo 213 kWh"),
        ("What's the wifi password?", rows_of("Drinks", "Oat milk +40p · Wifi: kettle2026", *LONG), "closest: Wifi: kettle2026"),
        ("How long is the film?", rows_of("running time 118 min", "Please arrive 15 minutes before the film starts.", *LONG), "closest: running time 118 min"),
        ("How long is it valid?", (*cells(("Valid from", "Valid until"), ("05 DEC 2026", "04 JAN 2027")), *rows_of(*LONG)), "good until 04 JAN 2027"),
        ("How long is it in the oven?", (*cells(("Oven 180 °C", "45 minutes")), *rows_of(*LONG)), "Oven 180 °C 45 minutes"),
        ("How much is it for a 9 year old?", rows_of("Adults £7.50", "Children under 12 Free", "Last entry at 5"), "Children under 12 Free"),
        ("How much is it for a 12 year old?", rows_of("Adults £7.50", "Children under 12 Free", "Last entry at 5"), "under 12"),
        ("What is it set to?", rows_of("Living room", "19.5°C", "Set to 21.0°C", "MENU"), "21.0°C"),
        ("Is it a return ticket?", (Row("OFF-PEAK DAY RETURN", 60, (Cell("OFF-PEAK DAY RETURN", 0, 500),)), *rows_of("Ticket no. 7719", *LONG)), "OFF-PEAK DAY RETURN; Ticket no. 7719"),
        ("¿Puedo cambiar el billete?", rows_of("Tren 1374", "Coche 4", "No admite cambios."), "No admite cambios."),
        ("What is this?", rows_of("5×500"), "I do not know this thing"),
        ("When is the last bus on Sunday?", DAYS, "leaves at 18:50."),
        ("When does the first tram go on a weekday?", DAYS, "leaves at 06:12."),
        ("Where is my parcel?", rows_of("Address: Flat 6, 80 Tannery Street", "[x] Your parcel is with a neighbour: No. 78", "[ ] Your parcel is at the depot", *LONG), "parcel is with a neighbour: No. 78"),
        ("Welk nummer kan ik bellen?", rows_of("Afvalkalender", "Vragen? Bel 14 0299", *LONG), "komt: Vragen? Bel 14 0299"),
        ("What size is it?", (*cells(("SIZE", "M", "/ EU 40")), *rows_of("70% WOOL", "25% POLYAMIDE", "DRY FLAT")), "it says M / EU 40"),
        ("Can I call them today?", rows_of("Questions? Call us on 0800 555 0136,", "Monday to Friday, 9 am - 5 pm.", *LONG), "0136, Monday to Friday, 9 am - 5 pm."),
        ("Can I call them today?", rows_of("Dear Ms Lind", "Call 0800 555 0142, Monday to Friday.", *LONG), "closest: Call 0800 555 0142, Monday to Friday."),
        ("Wie lange ist es haltbar?", (*cells(("Verwendbar bis:", "08/2028")), *rows_of("Nicht länger als 4 Tage ohne Rat einnehmen.", *LONG)), "08/2028"),
        ("What time do I have to be at the gate?", cells(("Boarding", "06:25"), ("Departure", "07:05"), ("Gate B12", "Seat 23C")), "06:25"),
        ("La farmacia è aperta adesso?", (*cells(("Sabato", "8:30 - 13:00")), *rows_of("Domenica chiuso", "Turno notturno:", "Farmacia Centrale, Piazza Dante 4")), "Sabato 8:30 - 13:00"),
        ("Wat kost het voor een kind van 10?", rows_of("Kinderen 4 t/m 15 jaar € 4,50", "10-badenkaart € 58,00", "65-plus € 5,25"), "Kinderen 4 t/m 15 jaar € 4,50"),
        ("¿Dónde me siento?", (*cells(("Fila 7", "Butaca 18")), *rows_of("Calle Mayor 52, Torrealba.", *LONG)), "Butaca 18"),
        ("Wo ist mein Paket?", rows_of("PaketBlitz", "Wir haben Sie nicht angetroffen!", "Kiosk Yildirim, Bahnhofstraße 44", *LONG), "Kiosk Yildirim, Bahnhofstraße 44"),
        ("C'est ouvert aujourd'hui ?", rows_of("Servi le midi", "Fermé le dimanche et le lundi", *LONG), "plus : Fermé le dimanche"),
        ("Ile to kosztuje?", cells(("8,99 zt", "zamiast 11,49 zł"), ("Maks. 4 sztuki", "na klienta")), "Cena: 8,99 zt."),
        ("When is my appointment?", rows_of("19 November 2026", "Your check-up is on", "Thursday 3 December 2026 at 9.20 am.", "The appointment lasts about 30 minutes.", *LONG), "3 December 2026 at 9.20 am"),
        ("What's the penalty?", rows_of("Pay and Display", "Penalty for no ticket: £60", *LONG), "It reads: Penalty for no ticket: £60"),
        ("How much for three hours?", rows_of("Up to 2 hours £2.60", "Up to 4 hours £4.80", "All day £8.00"), "Up to 4 hours £4.80"),
        ("When is my appointment?", rows_of("18 November 2026", "Your check-up is due. We have booked you in on", "Thursday 10 December 2026 at 11.15 am", *LONG), "booked you in on Thursday 10 December 2026 at 11.15 am"),
        ("What did I buy?", cells(("Milk 2L", "1.85"), ("Bananas", "0.97"), ("TOTAL", "2.82")), "Bananas"),
        ("¿Qué compré?", cells(("Leche 2L", "1,85"), ("Pan", "0,97"), ("TOTAL", "2,82")), "Pan"),
        ("What am I making here?", rows_of("Apple crumble", "Serves 4", "250 g apples"), "I read “Apple crumble”."),
        ("Is there a USB port on it?", rows_of("J1", "U2", "C", "CT5 CT14"), "I cannot recognise “USB port”."),
        ("What is this?", rows_of("J1", "U2", "C", "CT5 CT14"), "I do not know this thing"),
        ("What is it used for?", rows_of("Tested To Comp", "FC FCC Standd", "C68 C70", "R40", "R65", "C54 C58", "C59", "FM3"), "I cannot tell that"),
        ("Read it", rows_of("J1", "U2", "C", "CT5 CT14"), "CT5 CT14"),
        # What a print is about, or for
        ("What is this letter about?", rows_of("Dear parents", "Class 4 will visit the museum.", "P. Nandakumar"), "I cannot summarise, but I can read it"),
        ("What is this poster for?", rows_of("Winter Winds", "An evening of jazz", "Friday"), "I read “"),
        ("What is in this packet?", rows_of("Oat Biscuits", "Net 300 g", "May contain nuts"), "I read “Oat Biscuits”."),
        ("What is this?", rows_of("Milk 1 l", "Store in a cool place", "Proteins 3.3 g"), "I read “Store in a cool place”."),
        ("What is the café called?", (*(Row(text, 60, (Cell(text, 0, 300),)) for text in ("Scan for our menu",)), *rows_of("Pinebrook Café", "Table 12")), "It reads: Pinebrook Café"),
        ("What is the name of the driver?", (Row("2", 90, (Cell("2", 0, 60),)), *rows_of("ADUKTEN", "strot")), "I can't tell more."),
        ("¿Qué pone aquí?", rows_of("Aviso", "Corte de agua", "mañana"), "Dice:"),
        # None of the sixteen languages
        ("När är tvättstugan öppen?", rows_of("Öppet alla dagar 07.00–21.00"), "not one of them."),
        ("Innehåller det mjölk?", rows_of("Kan innehålla mjölk"), "not one of them."),
        ("Kdy je otevřeno?", rows_of("Otevřeno 7–21"), "not one of them."),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_a_place_a_count_or_what_print_is_about(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_the_next_time_is_in_the_column_of_today() -> None:
    """After the last one there is none, and not the first of the next row."""
    facts = Facts(BRIGHT, rows=DAYS, codes=())
    for clock, answer in (
        (dt.time(12, 30), "leaves at 14:05"),
        (dt.time(23), "I can't tell more."),
    ):
        said = compose(understand("When is the next bus?"), facts, TUESDAY, clock=clock)
        assert answer in said


def test_an_animal_is_asked_for_and_a_racing_cars_number_is_no_name() -> None:
    cup, dog, person = (
        Thing(name, 0.9, Box(0, 0, 300, 400), True) for name in ("cup", "dog", "person")
    )
    facts = Facts(BRIGHT, rows=(), codes=(), things=(cup,))
    said = compose(understand("What animal is that?"), facts, TUESDAY)
    assert said == "I see a cup. I can't tell more."
    facts = replace(facts, things=(person, dog))
    assert "sunglasses" not in compose(understand("Is he wearing glasses?"), facts, TUESDAY)
    assert compose(understand("What animals are there?"), facts, TUESDAY) == "I see a dog."
    bagel = Thing("bagel", 0.5, None, False)
    for question, things in (
        ("What drink is that?", (cup,)),
        ("What food is this?", (person, bagel)),
        ("What's that behind her?", (person,)),
        ("What can I cook with it?", (replace(cup, name="apple"),)),
        ("What instrument is in front?", (person,)),
        ("What can I do with it?", (replace(cup, name="scissors"),)),
        ("Is somebody holding something?", ()),
    ):
        said = compose(understand(question), replace(facts, things=things, faces=0), TUESDAY)
        sure = any(one.sure for one in things)
        assert said.endswith("I can't tell more." if sure else "and no more."), said
    said = compose(understand("Is there a dog?"), replace(facts, things=(bagel,)), TUESDAY)
    assert said == "I may miss it, but I do not see that: a dog."
    told = compose(understand("What food is this?"), replace(facts, things=(bagel,)), TUESDAY)
    assert told == "This looks like a bagel."
    number, other = rows_of("2", "strot")
    facts = replace(facts, things=(), rows=(replace(number, height=90), other))
    said = compose(understand("What is this?"), facts, TUESDAY)
    assert said == "I do not know this thing.\nIt reads: 2 · strot"


def test_a_single_letter_is_nothing_that_is_written() -> None:
    """It may be an edge or a fold; "What does it say?" is answered with it, unsure."""
    facts = Facts(BRIGHT, rows=(*rows_of("1"),), codes=(), things=())
    assert compose(understand("Is anything written on it?"), facts, TUESDAY).startswith(
        "I see no text"
    )
    assert "closest: 1" in compose(understand("What does it say?"), facts, TUESDAY)


def test_the_colour_of_a_place_is_not_said_of_what_lies_there() -> None:
    shown: dict[str, Shares] = {
        "middle": (("brown", 0.9),),
        "right": (("black", 0.9),),
        "whole": (("brown", 0.4),),
    }
    facts = Facts(BRIGHT, rows=(), codes=(), things=(), colours=shown)
    said = compose(understand("What colour is the fruit in the middle?"), facts, TUESDAY)
    assert said.startswith("In the middle: brown.")
    assert compose(understand("What colour is the middle?"), facts, TUESDAY).startswith(
        "In the middle it is"
    )
    said = compose(understand("What colour is the book on the right?"), facts, TUESDAY)
    assert said.startswith("On the right: black.\nI may miss it")


def test_the_ground_around_a_thing_is_not_told_as_its_colour() -> None:
    """Of a black telephone on white the colours of all are told, of a white wall those of its middle."""
    shares = {"middle": (("white", 0.9),), "whole": (("white", 0.79), ("black", 0.13))}
    white = Facts(
        BRIGHT,
        rows=(),
        codes=(),
        things=(),
        colours=shares,
        ground=("white",),
        rim=frozenset({"white"}),
    )
    said = compose(understand("What colour is it?"), white, TUESDAY)
    assert said == "The whole picture: white 79 %, black 13 %."
    # A drawing on white paper whose edges are of the table
    drawn = replace(white, ground=(), rim=frozenset())
    assert compose(understand("What colour is it?"), drawn, TUESDAY) == said
    wall = replace(white, colours=shares | {"whole": (("white", 1.0),)})
    assert compose(understand("What colour is it?"), wall, TUESDAY).startswith("In the middle")


def test_a_list_that_is_indented_belongs_to_its_heading() -> None:
    lines = ((0, "Starters"), (30, "Soup"), (30, "Salad"), (0, "Desserts"), (30, "Apple tart"), (30, "Ice cream"), (0, "Lunch only"))  # fmt: skip
    menu = [Row(text, 40, (Cell(text, left, left + 300),)) for left, text in lines]
    assert "Desserts · Apple tart · Ice cream" in said_of("What desserts are there?", menu)
    flat = [replace(row, cells=(Cell(row.text, 0, 300),)) for row in menu]
    assert "Ice cream" not in said_of("What desserts are there?", flat)
