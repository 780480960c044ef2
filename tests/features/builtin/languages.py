"""Questions in ten more languages about scenes of `table.py`, and the first line of each
answer (a pattern for all of it).
"""

from __future__ import annotations

TABLE: dict[str, list[tuple[str, str]]] = {
    "receipt": [
        ("Quanto ho pagato in totale?", r"Il totale è (EUR )?14\.35\."),
        ("Quanto è il resto?", r"Il resto è 5\.65\."),
        ("Quanto é no total?", r"O total é (EUR )?14\.35\."),
        ("Que data é?", r"A data é 20\.11\.2026\."),
        ("Hoeveel is het totaal?", r"Het totaal is (EUR )?14\.35\."),
        ("Hoeveel wisselgeld kreeg ik terug?", r"Het wisselgeld is 5\.65\."),
        ("Ile to razem?", r"Razem: (EUR )?14\.35\."),
        ("Jaka jest data?", r"Data: 20\.11\.2026\."),
        ("Toplam ne kadar?", r"Toplam: (EUR )?14\.35\."),
        ("Para üstü ne kadar?", r"Para üstü: 5\.65\."),
        ("Скільки разом?", r"Загальна сума: (EUR )?14\.35\."),
        ("Скільки решти?", r"Решта: 5\.65\."),
        ("كم المجموع؟", r"المجموع: \u2068(EUR )?14\.35\u2069\."),
        ("ما التاريخ؟", r"التاريخ: \u206820\.11\.2026\u2069\."),
        ("कुल कितना है?", r"कुल (EUR )?14\.35 है।"),
        ("तारीख क्या है?", r"तारीख 20\.11\.2026 है।"),
        ("合計はいくらですか？", r"合計は (EUR )?14\.35 です。"),
        ("「Croissant」と書いてありますか？", r"はい、「Croissant 2\.95」と書いてあります。"),
        ("합계가 얼마예요?", r"합계: (EUR )?14\.35\."),
        ("거스름돈이 얼마예요?", r"거스름돈: 5\.65\."),
    ],
    "red disc": [
        ("Di che colore è?", r"Al centro: rosso, su sfondo \w+\."),
        ("De que cor é isto?", r"No meio: vermelho, sobre fundo \w+\."),
        ("Welke kleur heeft het?", r"In het midden is het rood, op \w+\."),
        ("Jaki to kolor?", r"Pośrodku: czerwony, tło: \w+\."),
        ("Bu ne renk?", r"Ortada: kırmızı, arka plan \w+\."),
        ("Який це колір?", r"Посередині — червоний, тло: \w+\."),
        ("ما لون هذا؟", r"في الوسط: أحمر، والخلفية: \w+\."),
        ("यह कौन सा रंग है?", r"बीच में: लाल, पृष्ठभूमि .+।"),
        ("これは何色ですか？", r"中央は赤で、背景は.+です。"),
        ("이건 무슨 색이에요?", r"가운데: 빨간색, 배경은 .+\."),
    ],
    "blurred": [
        ("Leggi questo", r"Non riesco a leggere perché l’immagine è sfocata: .*"),
        ("اقرأ هذا", r"لا أستطيع القراءة لأن الصورة غير واضحة: .*"),
        ("これを読んで", r"画像がぼやけていて読めません。.*"),
    ],
}
