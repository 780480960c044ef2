"""A hundred questions about drawn scenes, and what the first line of each answer has to be (a
pattern for all of it).
"""

from __future__ import annotations

from tests.features.builtin.scenes import Barcode, Box, Digits, Disc, Scene, Sheet

RECEIPT = """
#CORNER CAFE
Station Road 12
2 x Coffee | | 6.40
Croissant | | 2.95
Orange juice | | 5.00
Subtotal | | 12.06
VAT 19 % | | 2.29
TOTAL | EUR | 14.35
Cash | | 20.00
Change | | 5.65
20.11.2026 | | 14:02
"""
BON = """
#BÄCKEREI MÜLLER
Brötchen | | 1,20
Kaffee groß | | 3,80
Apfelkuchen | | 3,50
Zwischensumme | | 8,50
Summe | EUR | 8,50
Gegeben bar | | 10,00
Rückgeld | | 1,50
"""
PRICE_TAG = """
##Tomaten
Klasse I, Italien, 500 g
###1,99 €
Grundpreis: 1 kg = 3,98 €
"""
MENU = """
#Menu du jour
Soupe à l'oignon | | 6,50 €
Poulet rôti | | 14,00 €
Tarte aux pommes | | 5,80 €
Café | | 2,20 €
"""
MEDICINE = """
Take with water
###Ibuprofen 400 mg
20 film-coated tablets
For pain and fever
EXP 09/2027 LOT 88231A
"""
MILK = """
##Vollmilch
3,5 % Fett
Inhalt: 1 l
Mindestens haltbar bis: 02.12.2026
Zucker 4,8 g
Eiweiß 3,4 g
"""
YOGURT = """
#Natural yogurt
Use by 14.11.2026
Net weight 150 g
Keep refrigerated
"""
PLATE = """
KETTLE MODEL KX-20
220-240 V~ 50/60 Hz
1200 W
Serial no. SN 4471-882
Made in Portugal
"""
HOURS = """
#OPENING HOURS
Mon - Fri | 9:00 - 18:30
Saturday | 10:00 - 14:00
Sunday | closed
Phone +44 20 7946 0018
"""
HORARIO = """
#HORARIO
Lunes a viernes | 10:00 - 20:00
Sábado | 10:00 - 14:00
Domingo | cerrado
"""
TIMETABLE = """
Time | Destination | Platform
14:35 | Berlin | 7
14:52 | Hamburg | 12
15:10 | Leipzig | 3
"""
BOARDING = """
#BOARDING PASS
Name: MARTA KOWALSKA
Flight LH 1873 | Gate B12
Seat 14A | Boarding 09:45
"""
CARD = """
#Anna Berger
Architect
Phone: +49 30 1234567
anna.berger@example.org
www.example.org
"""
NOTE = """
Dear neighbours,
the water will be turned off
on Tuesday from 8 to 11 am.
"""
CHINESE = """
##营业时间
上午9点到下午6点
咖啡 | | ¥28
绿茶 | | ¥18
"""
JAPANESE = """
##カフェ さくら
コーヒー 450円
"""
BATTERY = """
POWER BANK
Capacity 10000 mAh
Output 5 V 2.4 A
"""
NUTRITION = """
Nutrition facts | per 100 g
Energy | 1850 kJ / 442 kcal
Fat | 18 g
Sugar | 31 g
Salt | 0,8 g
"""
ROUTER = """
#Home router
Network name: Birch-5G
Password: tr0ut-River-88
"""
MARKET = """
#FRESH MARKET
Milk 1L | | 1.20
Bananas 1.2 kg | | 2.40
Coffee beans 500 g | | 6.90
Bread | | 3.85
TOTAL EUR | | 14.35
VISA | | 14.35
"""
GUESTS = """
Free Wi-Fi for guests
Network: CafeNet
Password: espresso2026
"""
BUS = """
##Line 42
Central Station | 08:12
Museum | 08:19
Airport | 08:41
"""
SAUCE = "##TABASCO\nHot sauce 60 ml\nBest before 12.03.2027"

SCENES: dict[str, Scene] = {
    "receipt": Scene([Sheet(RECEIPT, 29, leading=1.85)]),
    "market receipt": Scene([Sheet(MARKET, 30, leading=2.0)]),
    "german receipt": Scene([Sheet(BON, 32)]),
    "price tag": Scene([Sheet(PRICE_TAG, 34, leading=2.4)]),
    "french menu": Scene([Sheet(MENU, 36, leading=2.2)]),
    "medicine box": Scene([Sheet(MEDICINE, 30, leading=2.3)]),
    "milk carton": Scene([Sheet(MILK, 34, leading=2.0)]),
    "old yogurt": Scene([Sheet(YOGURT, 36, leading=2.2)]),
    "rating plate": Scene([Sheet(PLATE, 34, paper=(190, 195, 200), leading=2.2)]),
    "thermometer": Scene([Digits("21.7", "°C")], ground=(185, 205, 200)),
    "room display": Scene(
        [Sheet("INDOOR\n###21.7 °C\nHumidity 45 %", 44, columns=(200,), leading=2.6)],
        ground=(185, 205, 200),
    ),
    "freezer": Scene([Digits("-12", "°C", height=150)], ground=(185, 205, 200)),
    "clock": Scene([Digits("14:35")], ground=(185, 205, 200)),
    "scale": Scene([Digits("82.4", "kg")], ground=(185, 205, 200)),
    "opening hours": Scene([Sheet(HOURS, 36, columns=(120, 560), leading=2.2)]),
    "horario": Scene([Sheet(HORARIO, 36, columns=(120, 560), leading=2.2)]),
    "timetable": Scene([Sheet(TIMETABLE, 38, columns=(100, 420, 860), leading=2.4)]),
    "boarding pass": Scene([Sheet(BOARDING, 34, columns=(100, 640), leading=2.4)]),
    "business card": Scene([Sheet(CARD, 34, leading=2.2)]),
    "notice": Scene([Sheet(NOTE, 36, leading=2.2)]),
    "chinese cafe": Scene([Sheet(CHINESE, 40, font="uni", leading=2.4)]),
    "japanese cafe": Scene([Sheet(JAPANESE, 44, font="uni", leading=2.6)]),
    "power bank": Scene([Sheet(BATTERY, 40, leading=2.3)]),
    "nutrition": Scene([Sheet(NUTRITION, 34, columns=(100, 560), leading=2.2)]),
    "wifi code": Scene(
        [
            Barcode("WIFI:T:WPA;S:Guest House;P:blue-Kettle\\;42;;"),
            Sheet("Guest Wi-Fi\nScan to connect", 34),
        ]
    ),
    "wifi code and print": Scene(
        [
            Barcode("WIFI:T:WPA;S:CafeNet;P:espresso2026;;", at=(900, 60)),
            Sheet(GUESTS, 36, leading=2.4),
        ]
    ),
    "bus stop": Scene([Sheet(BUS, 40, columns=(100, 700), leading=2.2)]),
    "discs above and below": Scene([Disc("green", (640, 150), 90), Disc("yellow", (640, 580), 90)]),
    "router": Scene([Sheet(ROUTER, 36, leading=2.4)]),
    "menu code": Scene([Barcode("https://menu.example.org/table/7?x=1")]),
    "product code": Scene([Barcode("4006381333931", "EAN13", scale=4)]),
    "two discs": Scene([Disc("blue", (220, 360)), Disc("red", (1040, 360))]),
    "red disc": Scene([Disc("red")], ground=(245, 245, 245)),
    "ring": Scene([Disc("black", (640, 360), 150, 16)], ground=(235, 235, 235)),
    "green box": Scene([Box("green", (0, 0), (1280, 720))]),
    "upside down": Scene([Sheet(SAUCE, 36, leading=2.3)], turn=180),
    "turned right": Scene([Sheet(SAUCE, 36, leading=2.3)], turn=270),
    "turned left": Scene([Sheet(SAUCE, 36, leading=2.3)], turn=90),
    "leaning": Scene([Sheet(YOGURT, 36, leading=2.2)], turn=12),
    "blurred": Scene([Sheet(YOGURT, 24, leading=2.2)], blur=9),
    "dark": Scene([Sheet(YOGURT, 24, leading=2.2)], light=0.02),
    "cyrillic": Scene([Sheet("##МОЛОКО\nЖирность\nЦена", 44, leading=2.6)]),
    "empty": Scene(),
}

# Scene: question, the first line.
TABLE: dict[str, list[tuple[str, str]]] = {
    "receipt": [
        ("How much did I pay in total?", r"The total is (EUR )?14\.35\."),
        ("What's the total?", r"The total is (EUR )?14\.35\."),
        ("How much was the coffee?", r"“(2 x )?Coffee” costs 6\.40\."),
        ("How much was the orange juice?", r"“Orange juice” costs 5\.00\."),
        ("How much was the tea?", r"I find no price for “tea”\."),
        ("How much change did I get?", r"The change is 5\.65\."),
        ("How much VAT is in it?", r".*2\.29.*"),
        ("Does it say croissant?", r"Yes, it reads “Croissant 2\.95”\."),
        ("What date is it?", r"The date is 20\.11\.2026\."),
        ("Сколько я заплатил?", r"Итоговая сумма: (EUR )?14\.35\."),
        ("一共多少钱？", r"合计是 (EUR )?14\.35。"),
    ],
    "market receipt": [
        ("How much did I pay in total?", r"The total is (EUR )?14\.35\."),
        ("How much?", r"The total is (EUR )?14\.35\."),
        ("What did the bananas cost?", r"“Bananas 1\.2 ?kg” costs 2\.40\."),
        ("How much was the bread?", r"“Bread” costs 3\.85\."),
    ],
    "german receipt": [
        ("Was habe ich insgesamt bezahlt?", r"Die Summe ist (EUR )?8,50\."),
        ("Was hat der Kaffee gekostet?", r"„Kaffee groß“ kostet 3,80\."),
        ("Wie viel Rückgeld bekam ich?", r"Das Rückgeld ist 1,50\."),
        ("Was kostet der Apfelkuchen?", r"„Apfelkuchen“ kostet 3,50\."),
    ],
    "price tag": [
        ("How much does it cost?", r"It costs 1,99 ?€\."),
        ("What is the price per kilo?", r"It costs 3,98 ?€ per kg\."),
        ("Was ist der Kilopreis?", r"Es kostet 3,98 ?€ pro kg\."),
        ("Wie viel wiegt es?", r"Da steht 500 ?g\."),
    ],
    "french menu": [
        ("Combien coûte le café ?", r"« Café » coûte 2,20 ?€\."),
        ("Quel est le prix de la soupe ?", r"« Soupe à l'oignon » coûte 6,50 ?€\."),
        ("What does the tart cost?", r"“Tarte aux pommes” costs 5,80 ?€\."),
        (
            "Traduis ce menu",
            r"Je ne sais pas traduire, mais je peux lire :\nMenu du jour\n.*Café\t2,20 ?€",
        ),
    ],
    "medicine box": [
        ("What medicine is this?", r"The largest line reads “Ibuprofen 400 ?mg”\."),
        ("Welches Medikament ist das?", r"Die größte Zeile lautet „Ibuprofen 400 ?mg“\."),
        ("When does it expire?", r"It is good until 09/2027\. That day is still to come\."),
        ("What is the lot number?", r"Next to “LOT” it says 88231A\."),
        ("What is this?", r".*Ibuprofen 400 ?mg.*"),
    ],
    "milk carton": [
        ("Wann läuft das ab?", r"Es ist haltbar bis 02\.12\.2026\. Dieser Tag kommt erst noch\."),
        ("Wie viel Zucker ist drin?", r"Neben „Zucker“ steht 4,8 ?g\."),
        ("Wie viel Prozent Fett?", r"Neben „Fett“ steht 3,5 ?%\."),
        ("What is this?", r"I read “Vollmilch”\."),
    ],
    "old yogurt": [
        ("Is it still good?", r"It is good until 14\.11\.2026\. That day has passed\."),
        ("How heavy is it?", r"It says 150 ?g\."),
        ("¿Cuándo caduca?", r"Caduca: 14\.11\.2026\. Esa fecha ya ha pasado\."),
        ("Как долго годен?", r"Годен до 14\.11\.2026\. Этот день уже прошёл\."),
    ],
    "rating plate": [
        ("How many watts?", r"It says 1200 ?W\."),
        ("What voltage does it need?", r"It says 220-240 ?V.*"),
        ("What is the serial number?", r"Next to “Serial.*” it says (SN )?4471-882\."),
        ("Combien de watts ?", r"Il est écrit 1200 ?W\."),
        ("多少瓦？", r"上面写着 1200 ?W。"),
    ],
    "thermometer": [
        ("What is the temperature?", r"It says 21\.7 ?(°C|°|C)\."),
        ("How warm is it?", r"It says 21\.7 ?(°C|°|C)\."),
        ("Wie viel Grad sind es?", r"Da steht 21\.7 ?(°C|°|C)\."),
    ],
    "room display": [
        ("What is the temperature?", r"It says 21\.7 ?°C\."),
        ("How humid is it, in percent?", r"Next to “Humidity” it says 45 ?%\."),
        ("Какая температура?", r"Написано 21\.7 ?°C\."),
    ],
    "freezer": [("How cold is it?", r"It says -12( ?(°C|°|C)\.|; I cannot read its unit\.)")],
    "clock": [
        ("What time is it?", r"It shows 14:35\."),
        ("Quelle heure est-il ?", r"Il est affiché 14:35\."),
    ],
    "scale": [("How much do I weigh?", r"It says 82\.4( ?kg\.|; I cannot read its unit\.)")],
    "opening hours": [
        ("What are the opening hours?", r"It is open: Mon ?- ?Fri 9:00 ?- ?18:30; Saturday 10.*"),
        ("When does it open on Saturday?", r"For that day it says: Saturday 10:00 ?- ?14:00\."),
        ("Is it open on Wednesdays?", r"For that day it says: Mon ?- ?Fri 9:00 ?- ?18:30\."),
        ("Is it open on Sunday?", r"For that day it says: Sunday closed\."),
        ("What is the phone number?", r"The phone number is \+44 20 7946 0018\."),
    ],
    "horario": [
        ("¿Está abierto el domingo?", r"Para ese día dice: Domingo cerrado\."),
        ("¿A qué hora abre el sábado?", r"Para ese día dice: Sábado 10:00 ?- ?14:00\."),
        ("Is it open on Tuesday?", r"For that day it says: Lunes a viernes 10:00 ?- ?20:00\."),
    ],
    "timetable": [
        ("When does the train to Hamburg leave?", r"It leaves at 14:52\."),
        ("Which platform for Leipzig?", r"In the row of “Leipzig”, under “Platform”, it says 3\."),
        ("Wann fährt der Zug nach Berlin?", r"Abfahrt ist um 14:35\."),
        ("When is the next train?", r"It leaves at 14:35\."),
    ],
    "boarding pass": [
        ("Which gate?", r"Next to “Gate” it says B12\."),
        ("What is my seat?", r"Next to “Seat” it says 14A\."),
        ("What is the flight number?", r"Next to “Flight” it says LH 1873\."),
        ("What is the name on it?", r"Next to “Name” it says MARTA KOWALSKA\."),
    ],
    "business card": [
        ("What is the e-mail address?", r"The e-mail address is anna\.berger@example\.org\."),
        ("Wie ist die Telefonnummer?", r"Die Telefonnummer ist \+49 30 1234567\."),
        ("Which website is it?", r"The web address is www\.example\.org\."),
    ],
    "notice": [
        (
            "Summarise this",
            r"I cannot summarise, but I can read it:\nDear neighbours,\nthe .*\non .*11 ?am\.",
        ),
        (
            "Translate this",
            r"I cannot translate, but I can read it:\nDear neighbours,\nthe .*\non .*11 ?am\.",
        ),
        ("Read this", r"It reads:\nDear neighbours,\nthe .*turned off\non .*11 ?am\."),
        ("Is that a dog?", r"I cannot tell that: I read text and codes .*"),
        (
            "Is the dog asleep?",
            r"I do not find that in the text, and I cannot tell it from the picture\.",
        ),
    ],
    "chinese cafe": [
        ("咖啡多少钱？", r"“咖啡”的价格是 [¥￥]28。"),
        ("上面写着什么？", r"上面写着：\n营业时间.*\n绿茶\t[¥￥]18\n.*"),
        ("Read this", r"It reads:\n营业时间\n.*"),
    ],
    "japanese cafe": [("What does it say?", r"It reads:\nカフェ ?さくら\nコーヒー ?450円")],
    "power bank": [
        ("What is the battery capacity?", r"It says 10000 ?mAh\."),
        ("How many volts?", r"It says 5 ?V\."),
    ],
    "nutrition": [
        ("How much salt is in it?", r"Next to “Salt” it says 0,8 ?g\."),
        ("How many calories?", r"It says .*442 ?kcal\."),
        ("Combien de sucre ?", r"À côté de « Sugar », il est écrit 31 ?g\."),
    ],
    "wifi code": [
        ("What is the Wi-Fi password?", r"The Wi-Fi password is blue-Kettle;42"),
        ("Wie heißt das WLAN?", r"Das WLAN heißt Guest House"),
        ("Scan code", r"The QR code is for the Wi-Fi network Guest House, password blue-Kettle;42"),
    ],
    "wifi code and print": [
        ("What is the Wi-Fi password?", r"The Wi-Fi password is espresso2026"),
        ("Quel est le mot de passe ?", r"Le mot de passe Wi-Fi est espresso2026"),
        (
            "Read this",
            r"It reads:\nFree Wi-Fi for guests\nNetwork: CafeNet\nPassword: espresso2026\n.*",
        ),
    ],
    "bus stop": [
        ("When does the bus get to the museum?", r"Next to “Museum” it says 08:19\."),
        ("When does it arrive at the airport?", r"Next to “Airport” it says 08:41\."),
        ("Which line is it?", r"Next to “Line” it says 42\."),
    ],
    "discs above and below": [
        ("What colour is at the top?", r"At the top it is green, on white\."),
        ("¿Qué color hay abajo?", r"Abajo es amarillo, sobre blanco\."),
        ("What colours do you see?", r"I see white, (yellow, green|green, yellow)\."),
        ("Is the top one green?", r"Yes, at the top it is green\."),
    ],
    "router": [
        ("What is the password?", r"The password is tr0ut-River-88"),
        ("¿Cuál es la contraseña?", r"La contraseña es tr0ut-River-88"),
    ],
    "menu code": [
        (
            "Is this link safe?",
            r"I cannot tell whether a link is safe; this one leads to menu\.example\.org\.",
        ),
        ("Read this", r"The QR code says: https://menu\.example\.org/table/7\?x=1"),
        ("二维码里是什么？", r"QR code 的内容是：https://menu\.example\.org/table/7\?x=1"),
    ],
    "product code": [("Scan code", r"The EAN-13 says: 4006381333931")],
    "two discs": [
        ("What colour is on the left?", r"On the left it is blue, on white\."),
        ("Welche Farbe ist rechts?", r"Rechts ist es rot, auf weiß\."),
        ("Какой цвет слева?", r"Слева — синий, фон белый\."),
        ("左边是什么颜色？", r"左边是蓝色，背景是白色。"),
    ],
    "red disc": [
        ("What colour?", r"In the middle it is red, on white\."),
        ("Is it blue?", r"No, in the middle it is red\."),
        ("Is this red?", r"Yes, in the middle it is red\."),
        (
            "What is this?",
            r"I see no text; in the middle it is red, on white\.|I see no text; in the middle it is red on white\.",
        ),
    ],
    "ring": [
        ("Read this", r"I see no text that I can read\. .*"),
        ("What number is it?", r"I could only read that\. I see no text that I can read\. .*"),
    ],
    "green box": [("What colour is it?", r"In the middle it is green\.")],
    "upside down": [
        ("What does it say?", r"It reads:\nTABASCO\nHot sauce 60 ?ml\nBest before 12\.03\.2027"),
        ("When does it expire?", r"It is good until 12\.03\.2027\. .*"),
    ],
    "turned right": [
        ("Read this", r"It reads:\nTABASCO\nHot sauce 60 ?ml\nBest before 12\.03\.2027")
    ],
    "turned left": [
        ("Read this", r"It reads:\nTABASCO\nHot sauce 60 ?ml\nBest before 12\.03\.2027")
    ],
    "leaning": [("How heavy is it?", r"It says 150 ?g\.")],
    "blurred": [
        ("Read this", r"I cannot read it, because the picture is blurred: .*"),
        ("Is it blurry?", r"The picture is blurred: .*"),
    ],
    "dark": [("Read this", r"It is too dark to read: .*"), ("Is it dark?", r"It is dark\.")],
    "cyrillic": [
        ("Что здесь написано?", r"Я вижу надпись, но не могу её прочитать: .*"),
        ("What does it say?", r"I see print that I cannot read: .*"),
    ],
    "empty": [
        ("hi", r"Hello! .*"),
        ("thanks", r"You are welcome!"),
        ("what can you do?", r"I read text, .*“.+”, “.+” or “.+”\."),
        ("Danke!", r"Gern geschehen!"),
        ("Привет!", r"Здравствуйте! .*"),
        ("你能做什么？", r"我能读文字.*"),
        ("Τι είναι αυτό;", r"I understand questions in sixteen languages, .*"),
        ("Read this", r"I see no text that I can read\. .*"),
    ],
}
