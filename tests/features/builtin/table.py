"""Drawn scenes, about which `answers.toml` has a hundred questions."""

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
