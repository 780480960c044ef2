"""Choose the way of a question from its words: the present picture, its detail, two looks at it, the
recent past, a spot in it, or its text over several pictures. Pure.
"""

from __future__ import annotations

import math
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from server.core.frames import Detail, Route

# Match words of questions and rows of print: text without case and accents, patterns of words.
# Pure.

# Vowel signs and other marks of Devanagari, which are parts of words but not of `\w`; for a
# character class
WORD_MARKS = r"\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"


# Characters read at each end of a long question: a question comes before or after what it quotes.
_PART = 300

_DEVANAGARI = re.compile(r"[\u0900-\u097f]")


# Letters that people write in place of each other, and marks that they leave out
_ALIKE = str.maketrans("ıł’أإآٱىةँ", "il'اااايهं", "ـ" + "".join(map(chr, range(0x064B, 0x0653))))
# Accents of Latin, Greek and Cyrillic. Marks beyond (dakuten, vowel signs) belong to the letter.
_ACCENTS = dict.fromkeys(range(0x0300, 0x0370))


def plain(text: str) -> str:
    """Lower case without accents, for comparing words.

    Scripts without case or accents stay as they are.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    bare = folded.translate(_ACCENTS)
    return unicodedata.normalize("NFC", bare).translate(_ALIKE)


def ends(question: str) -> str:
    """Return a question with single spaces, and of a long one the beginning and the end.

    It has 620 characters at most: what looks for words in it takes time in proportion to the words.
    """
    question = question.strip()
    if len(question) > 4 * _PART:
        question = f"{question[: 2 * _PART]} … {question[-2 * _PART :]}"
    # One letter may stand for eighteen.
    question = " ".join(unicodedata.normalize("NFKC", question).split())
    if len(question) > 2 * _PART:
        question = f"{question[:_PART]} … {question[-_PART:]}"
    return question


def word_pattern(words: str, parts: str = "") -> re.Pattern[str]:
    """A pattern to search `plain` text with; both lists are separated by commas.

    `words` are whole words, beginnings of words (ending in *) and phrases; `parts` match anywhere.
    """

    def longest_first(entries: str) -> list[str]:
        return sorted({plain(entry.strip()) for entry in entries.split(",")}, key=len, reverse=True)

    def choice(entries: list[str], begin: str, end: str, more: str) -> str:
        found = [
            re.escape(entry.rstrip("*")) + (more if entry.endswith("*") else "")
            for entry in entries
        ]
        return rf"{begin}(?:{'|'.join(found)}){end}"

    entries = [entry for entry in longest_first(words) if entry]
    marked = [entry for entry in entries if _DEVANAGARI.search(entry)]
    plainer = [entry for entry in entries if not _DEVANAGARI.search(entry)]
    choices = [choice(plainer, r"\b", r"\b", r"\w*")] if plainer else []
    if marked:
        letter = rf"[\w{WORD_MARKS}]"
        choices.append(choice(marked, rf"(?<!{letter})", rf"(?!{letter})", f"{letter}*"))
    choices += [re.escape(part) for part in longest_first(parts) if part]
    return re.compile("|".join(choices))


# Questions about reading or small things, by language: words, beginnings of words (ending in *) and
# phrases. They are compared as `plain` text. A word too many costs visual tokens; a word too few
# costs an unreadable label.
DETAIL_WORDS: dict[str, str] = {
    "en": "read, reads, reading, say, says, written, writing, wrote, text, texts, word, words, letter*, label*, print, "
    "printed, sign, signs, signpost*, caption*, subtitle*, headline*, title*, number*, digit*, figures, serial*, code, "
    "codes, barcode*, qr, price*, cost, costs, how much, date, dates, expir*, best before, use by, ingredient*, "
    "nutrition*, dosage*, dose, instruction*, manual, receipt*, invoice*, ticket*, document*, page, pages, menu*, "
    "screen*, display*, error message*, license plate*, licence plate*, plate number*, email*, e-mail*, url, website*, "
    "address*, translate*, spell*, small, smallest, tiny, detail*, closely, zoom*, gauge*, meter, thermometer*, dial*, "
    "what time, clock*, watch, brand*, logo*, differences, crack*, scratch*",
    "de": "lies, lesen, liest, lese, vorlesen, vorlies, was steht, steht auf, steht da, steht drauf, geschrieben*, "
    "schrift*, text*, wort, worte, wörter, buchstabe*, etikett*, gedruckt*, kleingedruckt*, schild*, beschriftung*, "
    "titel*, überschrift*, nummer*, zahl, zahlen, ziffer*, seriennummer*, code*, barcode*, strichcode*, qr, preis*, "
    "kostet, kosten, wie viel, wieviel, datum, haltbar*, ablauf*, mindesthaltbar*, zutat*, nährwert*, dosierung*, "
    "anleitung*, beleg*, quittung*, rechnung*, kassenbon*, fahrkarte*, dokument*, seite, formular*, speisekarte*, "
    "bildschirm*, anzeige*, display*, fehlermeldung*, kennzeichen*, telefonnummer*, e-mail*, email*, adresse*, "
    "übersetz*, buchstabier*, klein, kleine*, kleinste*, winzig*, detail*, wie spät, uhrzeit*, uhr, zähler*, "
    "thermometer*, marke, logo*, unterschied*, kratzer*, riss, risse",
    "fr": "lis, lire, lisez, lis-moi, écrit*, écriture*, texte*, mot, mots, lettre*, étiquette*, imprimé*, panneau*, "
    "pancarte*, titre*, légende*, numéro*, chiffre*, nombre*, code*, code-barres, qr, prix, coûte, coûtent, combien, "
    "date, dates, péremption, expire*, expiration, ingrédient*, dosage*, posologie*, notice*, mode d'emploi, ticket*, "
    "reçu*, facture*, document*, page, pages, formulaire*, menu*, écran*, affiché*, affichage*, message d'erreur, "
    "plaque*, téléphone*, courriel*, e-mail*, email*, adresse*, tradui*, épel*, petit*, minuscule*, détail*, "
    "quelle heure, horloge*, montre, compteur*, thermomètre*, marque, logo*, différence*, rayure*, fissure*",
    "es": "lee, leer, léeme, leerme, dice, escrito*, escrita*, escritura*, texto*, palabra*, letra*, etiqueta*, "
    "impreso*, letrero*, cartel*, rótulo*, título*, número*, cifra*, dígito*, código*, qr, precio*, cuesta, cuestan, "
    "cuánto, cuánta, fecha*, caduc*, vencimiento*, vence, ingrediente*, dosis, instruccion*, recibo*, factura*, "
    "billete*, documento*, página*, formulario*, menú*, pantalla*, mensaje de error, matrícula*, teléfono*, correo*, "
    "email*, dirección*, traduc*, deletre*, pequeñ*, diminut*, detalle*, qué hora, reloj*, contador*, termómetro*, "
    "marca, logo*, diferencia*, arañazo*, grieta*",
    "it": "leggi, leggere, leggimi, legge, dice, scritto, scritta, scritte, scrittura, testo, testi, parola, parole, "
    "lettera, lettere, etichett*, stampat*, cartello, cartelli, insegna, insegne, titolo, numero, numeri, cifra, cifre, "
    "codice, codici, qr, prezzo, prezzi, costa, costano, quanto, data, scadenza, scade, ingredient*, dosaggio, "
    "istruzion*, scontrino, ricevuta, fattura, biglietto, documento, pagina, modulo, menu, schermo, schermata, "
    "messaggio di errore, targa, telefono, email, indirizzo, traduc*, piccol*, minuscol*, dettagli*, che ora, orologio, "
    "contatore, termometro, marca, marchio, logo, differenz*, graffi*, crepa, crepe",
    "pt": "ler, leia, lê isto, lê isso, lê para, leitura, diz, escrito*, escrita*, texto*, palavra*, letra*, etiqueta*, "
    "rótulo*, impress*, placa*, letreiro*, título*, número*, dígito*, código*, qr, preço*, custa, custam, quanto, "
    "data, validade*, vencimento*, vence, ingrediente*, dose, dosagem, instruç*, recibo*, fatura*, bilhete*, "
    "documento*, página*, formulário*, cardápio*, menu, ementa, tela, ecrã, mensagem de erro, matrícula*, telefone*, "
    "email, endereço*, traduz*, soletr*, pequen*, minúscul*, detalhe*, que horas, relógio*, contador*, termómetro*, "
    "termômetro*, marca, logo*, diferença*, arranh*, rachadura*",
    "nl": "lees, lezen, leest, voorlezen, wat staat er, staat erop, staat er op, geschreven, tekst*, woord*, letter*, "
    "etiket*, gedrukt*, bordje*, opschrift*, titel*, nummer*, getal*, cijfer*, code*, barcode*, streepjescode*, qr, "
    "prijs, prijzen, kost, kosten, hoeveel, datum, houdbaar*, verloopt, vervalt, ingrediënt*, dosering*, handleiding*, "
    "gebruiksaanwijzing*, bonnetje*, factuur*, rekening*, kaartje*, document*, pagina*, formulier*, menukaart*, "
    "scherm*, display*, foutmelding*, kenteken*, telefoonnummer*, email*, e-mail*, adres*, vertaal*, vertalen, "
    "klein, kleine, kleinste, piepklein*, detail*, hoe laat, klok*, meterstand*, thermometer*, merk, logo*, "
    "verschil*, kras, krassen, barst*",
    "pl": "przeczyta*, czyta*, pisze, napis*, tekst*, słow*, liter*, etykiet*, numer*, cyfr*, kod*, cena, ceny, "
    "kosztuje, ile, data, daty, termin*, składnik*, paragon*, dokument*, ekran*, tablic*, adres*, przetłumacz*, "
    "mały, mała, małe, drobn*, szczegół*, która godzina, zegar*",
    "ru": "прочита*, прочти, читай, читать, написан*, текст*, слово, слова, букв*, этикетк*, надпис*, вывеск*, номер*, "
    "цифр*, число, код*, цена, цену, стоит, сколько, дата, срок годности, состав*, чек*, документ*, экран*, адрес*, "
    "переведи*, мелк*, маленьк*, детал*, который час, часы",
    "tr": "oku, okur*, okuma*, okuyabilir*, yaz*, metin, metni, kelime*, sözcük*, harf*, etiket*, tabela*, levha*, "
    "başlık*, numara*, rakam*, sayı, sayılar, seri no, kod, kodu, karekod*, barkod*, qr, fiyat*, kaç para, "
    "kaç lira, tarih*, son kullanma, skt, içindekiler, doz*, talimat*, kullanma kılavuzu, fiş, fişi, fatura*, "
    "bilet*, belge*, sayfa*, menü*, ekran*, gösterge*, hata mesajı, plaka*, telefon*, e-posta*, "
    "email*, adres*, çevir*, küçük*, minik*, ufak*, ayrıntı*, detay*, saat kaç, saati, sayaç*, termometre*, "
    "marka*, logo*, fark, farkı, farklar*, çizik*, çatlak*",
    "uk": "прочита*, читай, читати, написан*, текст*, слово, слова, літер*, букв*, етикет*, напис*, вивіск*, номер*, "
    "цифр*, число, код*, ціна, ціну, ціни, коштує, скільки, дата, дату, термін придатності, склад*, інструкц*, "
    "чек*, рахунок, документ*, сторінк*, меню, екран*, адрес*, переклад*, дрібн*, маленьк*, детал*, котра година, "
    "годинник*, лічильник*, термометр*, марка, логотип*, подряпин*, тріщин*",
    "ar": "اقرأ*, تقرأ, قراءة, مكتوب, المكتوب, مكتوبة, كُتب, نص, النص, كلمة, كلمات, الكلمات, حرف, حروف, الحروف, ملصق, "
    "الملصق, لافتة, اللافتة, عنوان, العنوان, رقم, الرقم, أرقام, الأرقام, رمز, الرمز, باركود, الباركود, qr, سعر, "
    "السعر, ثمن, الثمن, بكم, كم, تاريخ, التاريخ, صلاحية, الصلاحية, مكونات, المكونات, جرعة, الجرعة, تعليمات, "
    "التعليمات, فاتورة, الفاتورة, إيصال, الإيصال, تذكرة, التذكرة, وثيقة, الوثيقة, صفحة, الصفحة, قائمة الطعام, "
    "شاشة, الشاشة, رسالة الخطأ, لوحة السيارة, هاتف, الهاتف, بريد, البريد, ترجم*, صغير, صغيرة, الصغير, تفاصيل, "
    "التفاصيل, كم الساعة, ساعة, الساعة, عداد, العداد, علامة تجارية, العلامة التجارية, شعار, الشعار, خدش, شق",
    "hi": "पढ़*, लिखा, लिखी, लिखे, लिखावट, टेक्स्ट, शब्द, शब्दों, अक्षर, लेबल, बोर्ड, साइनबोर्ड, शीर्षक, नंबर, नम्बर, "
    "संख्या, अंक, कोड, बारकोड, qr, कीमत, क़ीमत, दाम, मूल्य, कितने का, कितने की, कितने रुपये, कितना, कितनी, तारीख, "
    "तारीख़, समाप्ति, एक्सपायरी, सामग्री, खुराक, निर्देश, रसीद, बिल, टिकट, दस्तावेज़, पन्ना, पेज, मेन्यू, स्क्रीन, "
    "नंबर प्लेट, फ़ोन नंबर, फोन नंबर, ईमेल, पता लिखा, अनुवाद*, छोटा, छोटी, छोटे, बारीक*, विवरण, कितने बजे, घड़ी, "
    "मीटर, थर्मामीटर, ब्रांड, लोगो, खरोंच, दरार",
}
# Written without spaces around words: any of these anywhere in the question.
DETAIL_PARTS: dict[str, str] = {
    "zh": "读, 讀, 念出, 念一下, 念给, 写着, 寫著, 写了什么, 寫了什麼, 写的, 文字, 字, 标签, 標籤, 招牌, 标题, 標題, 号码, 號碼, 数字, 數字, "
    "编号, 編號, 序列号, 序列號, 条码, 條碼, 条形码, 二维码, 二維碼, 价格, 價格, 价钱, 价钱, 多少钱, 多少錢, 日期, 保质期, 保質期, 过期, 過期, "
    "有效期, 成分, 配料, 剂量, 劑量, 说明书, 說明書, 收据, 收據, 发票, 發票, 文件, 文档, 屏幕, 螢幕, 显示, 顯示, 菜单, 菜單, 车牌, 車牌, "
    "电话, 電話, 邮箱, 地址, 网址, 網址, 翻译, 翻譯, 小的, 很小, 细小, 微小, 细节, 細節, 几点, 幾點, 时钟, 時鐘, 商标, 商標, 品牌",
    "ja": "読, よんで, よめ, 書いて, 書かれ, 文字, 字, ラベル, 看板, 表示, 見出し, 番号, 数字, シリアル, バーコード, コード, 値段, 価格, いくら, "
    "日付, 期限, 賞味, 成分, 原材料, 用量, 説明書, レシート, 領収, 請求書, 書類, 画面, スクリーン, メニュー, ナンバー, 電話, メール, 住所, "
    "翻訳, 訳して, 小さ, 細か, 詳細, 何時, 時計, メーター, ロゴ, ブランド",
    "ko": "읽, 쓰여, 적혀, 글자, 글씨, 텍스트, 라벨, 표지판, 간판, 번호, 숫자, 코드, 바코드, 가격, 얼마, 날짜, 유통기한, 성분, 영수증, 문서, "
    "화면, 메뉴, 전화, 주소, 번역, 작은, 자세히, 몇 시, 시계",
}

# Questions about the last minutes. Of phrases that begin at the same word the longest counts, in
# all of these tables.
PAST_WORDS: dict[str, str] = {
    "en": "just happened, what happened, what has happened, what's happened, what just, happened here, just now, a moment ago, "
    "moments ago, moment ago, minute ago, minutes ago, second ago, seconds ago, a while ago, earlier, did i put, did i leave, "
    "did i lay, did i place, did i drop, did i lose, have i put, have i left, i just put, where did, where was, where were, "
    "where has, where have, did you see, have you seen, do you remember, was there, were there, did anyone, did anybody, "
    "did someone, did somebody, has anyone been, has anybody been, has someone been, who was, who came, who left, who took, "
    "who just, what was that, what was in, what was on, what was here, what was there, what did i, what did he, what did she, "
    "what did they, what did you see, what changed, what has changed, what's changed, last seen, last minute, last minutes, "
    "last few minutes, last few seconds, past minute, past few minutes, previously",
    "de": "passiert, geschehen, gerade eben, soeben, vorhin, zuvor, eben noch, gerade noch, vor einer minute, vor zwei minuten, vor drei minuten, vor fünf minuten, vor zehn minuten, vor ein paar, vor einigen minuten, "
    "letzte minute, letzten minuten, letzten sekunden, vor einigen sekunden, "
    "vor einem moment, vor einem augenblick, vor kurzem, wo habe ich, wo hab ich, wohin habe ich, wohin hab ich, "
    "wo hatte ich, wo war, wo waren, wo lag, wo lagen, wo stand, wo ist hin, hingelegt, hingestellt, hingetan, liegen gelassen, "
    "liegengelassen, wer war, wer kam, hast du gesehen, war jemand, war hier, war da, war das eben, was war, hat sich geändert, "
    "hat sich verändert, zuletzt, erinnerst du dich",
    "fr": "s'est passé, s'est-il passé, est arrivé, vient de se passer, vient de passer, vient d'arriver, vient d'entrer, vient de sortir, viens de poser, "
    "viens de mettre, à l'instant, il y a un instant, il y a un moment, "
    "il y a une minute, il y a quelques, tout à l'heure, auparavant, où ai-je, où j'ai, où est-ce que j'ai, où était, "
    "où étaient, où avais-je, qui était, qui est venu, qui est passé, as-tu vu, avez-vous vu, tu as vu, y avait-il, "
    "qu'est-ce que c'était, c'était quoi, a changé, te souviens-tu",
    "es": "qué pasó, qué ha pasado, acaba de, acabo de, qué sucedió, ha sucedido, hace un momento, hace un minuto, hace un rato, "
    "hace poco, hace unos, dónde puse, dónde he puesto, dónde dejé, dónde he dejado, dónde metí, dónde guardé, dónde estaba, "
    "dónde estaban, dónde quedó, quién era, quién estaba, quién vino, has visto, viste, había, hubo, qué era eso, qué cambió, "
    "ha cambiado, te acuerdas, recuerdas",
    "it": "è successo, è appena, poco fa, un momento fa, un attimo fa, un minuto fa, minuti fa, secondi fa, dove ho, dove avevo, "
    "dove era, dov'era, dove erano, dov'erano, chi era, chi è venuto, chi è passato, hai visto, c'era, c'erano, cos'era, "
    "cosa era, è cambiato, ti ricordi",
    "pt": "aconteceu, acabou de, acabei de, há um momento, há um minuto, há pouco, minutos atrás, segundos atrás, "
    "um momento atrás, onde pus, onde deixei, onde coloquei, onde botei, onde guardei, onde meti, onde estava, onde estavam, "
    "onde ficou, quem era, quem estava, quem esteve, quem veio, você viu, viste, o que mudou, o que era, lembra-se, você lembra",
    "nl": "gebeurd, gebeurde, zojuist, daarnet, zonet, zopas, net nog, minuut geleden, minuten geleden, seconden geleden, "
    "moment geleden, tijdje geleden, waar heb ik, waar had ik, waar lag, waar lagen, waar was, waar waren, waar stond, gebleven, "
    "wie was, wie kwam, heb je gezien, was er iemand, iemand geweest, wat was, is er veranderd, weet je nog",
    "pl": "co się stało, co się wydarzyło, co się właśnie, stało się, przed chwilą, chwilę temu, minutę temu, minut temu, "
    "minuty temu, sekund temu, wcześniej, gdzie położyłem, gdzie położyłam, gdzie zostawiłem, gdzie zostawiłam, "
    "gdzie odłożyłem, gdzie odłożyłam, gdzie schowałem, gdzie schowałam, gdzie był, gdzie była, gdzie było, gdzie były, "
    "kto był, kto tu był, kto przyszedł, widziałeś, widziałaś, co to było, co się zmieniło, pamiętasz",
    "ru": "что произошло, что случилось, что сейчас было, что было, только что, минуту назад, минуты назад, минут назад, "
    "секунд назад, секунды назад, недавно, раньше, где я положил*, где я оставил*, куда я положил*, куда я дел*, "
    "куда я поставил*, я положил*, я оставил*, где был, где была, где было, где были, куда делся, куда делась, куда делись, "
    "куда пропал*, кто был, кто приходил, кто пришёл, ты видел*, вы видели, что изменилось, помнишь",
    "tr": "ne oldu, neler oldu, az önce, demin, biraz önce, bir dakika önce, dakika önce, saniye önce, daha önce, "
    "nereye koydum, nereye koymuştum, nerede bıraktım, nereye bıraktım, nereye sakladım, neredeydi, nerelerdeydi, "
    "nereye gitti, kim geldi, kim vardı, kimdi, gördün mü, gördünüz mü, neydi, ne değişti, neler değişti, "
    "hatırlıyor musun, son dakikada",
    "uk": "що сталося, що трапилося, що відбулося, щойно, тільки що, хвилину тому, хвилини тому, хвилин тому, "
    "секунд тому, секунди тому, нещодавно, раніше, де я поклав*, куди я поклав*, де я залишив*, де я лишив*, "
    "куди я подів*, я поклав*, я залишив*, де був, де була, де було, де були, куди поділ*, куди зник*, хто був, "
    "хто приходив, хто прийшов, ти бачив*, ви бачили, що змінилося, пам'ятаєш",
    "ar": "ماذا حدث, ماذا حصل, ما الذي حدث, ما الذي حصل, قبل قليل, قبل لحظة, منذ لحظة, منذ قليل, قبل دقيقة, منذ دقيقة, "
    "قبل دقائق, قبل ثوان, سابقا, أين وضعت, أين تركت, أين كان, أين كانت, أين ذهب, أين ذهبت, من كان, من جاء, "
    "هل رأيت, ماذا كان, ما الذي تغير, ماذا تغير, هل تتذكر",
    "hi": "क्या हुआ, क्या हुआ था, अभी अभी, अभी-अभी, थोड़ी देर पहले, कुछ देर पहले, एक मिनट पहले, मिनट पहले, सेकंड पहले, "
    "पहले क्या, कहाँ रखा, कहाँ रखी, कहाँ रखे, कहाँ छोड़ा, कहाँ छोड़ी, कहाँ था, कहाँ थी, कहाँ थे, कहाँ गया, "
    "कहाँ गई, कहाँ गए, कौन था, कौन आया, तुमने देखा, आपने देखा, वह क्या था, क्या बदला, क्या बदल गया, याद है",
}
PAST_PARTS: dict[str, str] = {
    "zh": "刚才, 剛才, 刚刚, 剛剛, 之前, 发生了什么, 發生了什麼, 发生什么, 發生什麼, 出了什么事, 分钟前, 分鐘前, 秒前, 秒钟前, 秒鐘前, 放在哪, 放哪, "
    "放到哪, 丢在哪, 落在哪, 忘在哪, 去哪了, 去哪里了, 去哪儿了, 去哪裡了, 来过, 來過, 看到过, 看到過, 看见过, 有什么变化, 有什麼變化, 变了什么, 變了什麼, "
    "记得, 記得",
    "ja": "どこに置いた, どこに置きま, どこへ置いた, 置いたっけ, 置き忘れ, どこにやった, どこにしまった, どこにあった, どこにありました, どこにいた, "
    "どこへ行った, どこに行った, 何が起きた, 何が起きま, 何が起こった, 何が起こりま, 何があった, 何がありました, さっき, たった今, 先ほど, 先程, 分前, 秒前, "
    "少し前, 誰が来, 誰がいた, 誰がいまし, 誰か来, 何が変わった, 何が変わりま, 覚えて",
    "ko": "어디에 두었, 어디에 뒀, 어디 뒀, 어디다 뒀, 어디에 놓았, 어디에 놨, 어디 놨, 어디다 놨, 어디에 있었, 어디 있었, 어디 갔, 어디로 갔, "
    "무슨 일이 있었, 무슨 일이 일어났, 방금, 아까, 조금 전, 분 전에, 초 전에, 누가 왔, 누가 있었, 왔었, 봤어, 봤니, 뭐가 바뀌었, 무엇이 바뀌었, "
    "달라졌, 기억나",
}
# Questions about a spot in the picture.
WHERE_WORDS: dict[str, str] = {
    "en": "where, where's, wheres, whereabouts, point to, point at, point out, locate, position of, which corner",
    "de": "wo, wohin, wo's, zeig auf, zeige auf, zeig darauf, an welcher stelle, welcher ecke, welche stelle",
    "fr": "où est, où sont, où se trouve, où se trouvent, où dois-je, où puis-je, où faut-il, où il est, où elle est, montre-moi où, "
    "dis-moi où, indique où, localise*, à quel endroit, quel coin",
    "es": "dónde, adónde, señala*, en qué lugar, en qué parte, qué esquina",
    "it": "dove, dov'è, dov'e, indicami, in che punto, in quale punto, quale angolo",
    "pt": "onde, aonde, aponta para, aponte para, localiza, localize, em que lugar, que canto",
    "nl": "waar, wijs aan, aanwijzen, welke plek, welke hoek",
    "pl": "gdzie, dokąd, wskaż, w którym miejscu, w którym rogu",
    "ru": "где, куда, укажи*, в каком месте, в каком углу",
    "tr": "nerede, nerde, neresinde, nereye, işaret et, göster nerede, hangi köşede, hangi yerde",
    "uk": "де, куди, вкажи*, покажи де, у якому місці, в якому кутку, у якому куті",
    "ar": "أين, اين, في أي مكان, في أي زاوية, أشر إلى",
    "hi": "कहाँ, कहां, किधर, किस जगह, किस कोने",
}
WHERE_PARTS: dict[str, str] = {
    "zh": "哪里, 哪裡, 哪儿, 哪兒, 在哪, 什么地方, 什麼地方, 什么位置, 什麼位置, 指出, 指给我, 指給我",
    "ja": "どこ, 何処, どの辺, どのへん, 指さして, 指して",
    "ko": "어디, 가리켜",
}
# The same, unless what is sought is to be read.
SEARCH_WORDS: dict[str, str] = {
    "en": "find, look for, looking for, search for",
    "de": "finde, such mir, such den, such die, such das, such mein*, suche",
    "fr": "trouve, trouver, trouvez, cherche, chercher, cherchez",
    "es": "encuentra, encontrar, busca, buscar",
    "it": "trova, trovare, trovami, cerca, cercare",
    "pt": "encontra, encontre, encontrar, procura, procure, procurar, ache",
    "nl": "vind, vinden, zoek, zoeken",
    "pl": "znajdź, znaleźć, poszukaj, szukam",
    "ru": "найди*, найти, поищи*, ищу",
    "tr": "bul, bulur*, ara, arıyorum",
    "uk": "знайди*, знайти, пошукай*, шукаю",
    "ar": "جد لي, اعثر على, ابحث عن, أبحث عن",
    "hi": "ढूँढो, ढूंढो, ढूँढ*, ढूंढ*, खोजो, खोजिए, खोज रहा, खोज रही",
}
SEARCH_PARTS: dict[str, str] = {
    "zh": "找到, 帮我找, 幫我找, 找一下, 找出, 寻找, 尋找",
    "ja": "探して, 探す, さがして, 見つけて",
    "ko": "찾아, 찾을",
}
# Phrases that look like one of these but are not: questions about an origin, other meanings of a
# word.
NEITHER_WORDS: dict[str, str] = {
    "en": "where am i, where are we, where is this from, where is it from, where's this from, where does this come from, "
    "where does it come from, where do these come from, where did this come from, where did it come from, where is this made, "
    "where was this made, where was it made, where were these made, where was this taken, where is this place, where can i buy, "
    "where can i get, where to buy, find out, a dove, the dove, this dove, that dove, no earlier than, what was this made, "
    "was there a reason",
    "de": "wo bin ich, wo sind wir, wo kann ich kaufen, wo gibt es, wo gibt's, wo kauft man, wo wird, wo wurde, wo kommt, "
    "finde heraus",
    "fr": "où suis-je, où sommes-nous, d'où, où acheter, où est fabriqué, où est-ce fabriqué, où est-ce un, où est-ce une, "
    "ou est-ce que c'est un, il y a quelques mots, tu trouves",
    "es": "de dónde, dónde estoy, dónde estamos, dónde puedo comprar, dónde comprar, dónde se fabrica, qué paso es, qué paso sigue",
    "it": "da dove, di dove, dove siamo, dove sono io, dove mi trovo, dove posso comprare, dove si compra, dove è fatto",
    "pt": "de onde, onde estou, onde estamos, onde posso comprar, onde comprar, onde é feito, onde foi feito, onde foi feita",
    "nl": "waar ben ik, waar zijn we, waar kan ik kopen, waar koop, waar komt, waar is dit gemaakt, is dat waar, is het waar, "
    "is dit waar, waar of niet",
    "pl": "gdzie jestem, gdzie jesteśmy, gdzie mogę kupić, gdzie kupić, gdzie wyprodukowano, gdzie zrobiono",
    "ru": "где я, где мы, где купить, где можно купить, где сделан*, где произвед*, где изготовлен*",
    "tr": "neredeyim, neredeyiz, nereden, nerelisin, nerede satılıyor, nereden alabilirim, nerede üretil*, "
    "nerede yapıl*, burası neresi",
    "uk": "де я, де ми, де купити, де можна купити, де зроблен*, де виготовлен*, де вироблен*, звідки",
    "ar": "أين أنا, أين نحن, من أين, أين أشتري, أين يمكنني أن أشتري, أين صنع, أين صنعت",
    "hi": "मैं कहाँ हूँ, हम कहाँ हैं, कहाँ से, कहाँ मिलेगा, कहाँ मिलेगी, कहाँ खरीद*, कहाँ बना, कहाँ बनी, कहाँ बनाया",
}
NEITHER_PARTS: dict[str, str] = {
    "zh": "哪里买, 哪里可以买, 在哪里买, 在哪里可以买, 在哪买, 我在哪里, 我在哪, 我们在哪, 这是哪里, 這是哪裡, 这里是哪, 来自哪里, 產自哪, 产自哪, 哪里生产, "
    "哪里制造, 在哪里生产, 在哪里制造, 日期之前, 日之前, 号之前",
    "ja": "どこで買, どこ製, どこの国, どこ産, ここはどこ, 私はどこ",
    "ko": "어디서 사, 어디에서 사, 어디서 살, 어디 제품, 여기가 어디, 여기는 어디, 여긴 어디, 내가 어디",
}


class _Sign(StrEnum):
    """The route that a phrase speaks for."""

    PAST = "past"
    WHERE = "where"
    SEARCH = "search"
    NEITHER = "neither"


_DETAIL = word_pattern(",".join(DETAIL_WORDS.values()), ",".join(DETAIL_PARTS.values()))
TWICE = tomllib.loads(Path(__file__).with_name("twice_words.toml").read_text(encoding="utf-8"))
_TWICE = word_pattern(*(",".join(TWICE[kind].values()) for kind in ("words", "parts")))
_TABLES = {
    _Sign.PAST: (PAST_WORDS, PAST_PARTS),
    _Sign.WHERE: (WHERE_WORDS, WHERE_PARTS),
    _Sign.SEARCH: (SEARCH_WORDS, SEARCH_PARTS),
    _Sign.NEITHER: (NEITHER_WORDS, NEITHER_PARTS),
}
_SIGNS = {
    sign: word_pattern(",".join(words.values()), ",".join(parts.values()))
    for sign, (words, parts) in _TABLES.items()
}


def wants_detail(question: str) -> bool:
    """Find whether a question is about reading or about something small, so that detail "auto"
    becomes "high".
    """
    return _DETAIL.search(plain(ends(question))) is not None


def route_of(question: str) -> Route:
    """Choose where a question looks; NOW where no word speaks for another route."""
    text = plain(ends(question))
    signs = _signs(text)
    if _Sign.PAST in signs or span_of(text) is not None:
        return Route.PAST
    if _Sign.WHERE in signs:
        return Route.WHERE
    if wants_reading(text):
        return Route.READ
    if _TWICE.search(text) is not None:
        return Route.TWICE
    if _DETAIL.search(text) is not None:
        return Route.DETAIL
    return Route.WHERE if _Sign.SEARCH in signs else Route.NOW


def choose(question: str, detail: Detail, route: Route | None) -> tuple[Route, Detail]:
    """Choose a question's route and detail, low or high.

    `route` and `detail`: the client's wishes.
    """
    if route in (Route.DETAIL, Route.READ, Route.TWICE):
        return route, Detail.HIGH
    if route is None:
        route = route_of(question)
        if route in (Route.DETAIL, Route.READ) and detail is Detail.LOW:
            route = Route.NOW
        if route is Route.NOW and detail is Detail.HIGH:
            route = Route.DETAIL
    if detail is Detail.AUTO:
        # The sought thing may be small.
        small = route in (Route.DETAIL, Route.TWICE, Route.WHERE, Route.READ) or (
            route is Route.PAST and wants_detail(question)
        )
        detail = Detail.HIGH if small else Detail.LOW
    return route, detail


def _signs(text: str) -> set[_Sign]:
    """Find the signs of a `plain` text.

    Of two phrases that share a letter the longer one counts.
    """
    spans = [
        (match.end() - match.start(), match.start(), sign)
        for sign, pattern in _SIGNS.items()
        for match in pattern.finditer(text)
    ]
    covered = bytearray(len(text))
    found = set()
    for length, start, sign in sorted(spans, key=lambda span: -span[0]):
        if covered.find(1, start, start + length) < 0:
            covered[start : start + length] = b"\1" * length
            found.add(sign)
    return found


# Find the time that a question about the past names: "two minutes ago", "in the last minute",
# "since I started". Pure.

_SECOND, _MINUTE, _HOUR = 1.0, 60.0, 3600.0


# Words of these lengths of time, by language; see `word_pattern`. Where words stand without spaces, as parts
UNIT_WORDS: dict[str, tuple[str, str, str]] = {
    "en": ("second, seconds, sec, secs", "minute, minutes, min, mins", "hour, hours"),
    "de": ("sekunde, sekunden", "minute, minuten", "stunde, stunden"),
    "fr": ("seconde, secondes", "minute, minutes", "heure, heures"),
    "es": ("segundo, segundos", "minuto, minutos", "hora, horas"),
    "it": ("secondo, secondi", "minuto, minuti", "ora, ore"),
    "pt": ("segundo, segundos", "minuto, minutos", "hora, horas"),
    "nl": ("seconde, seconden", "minuut, minuten", "uur, uren"),
    "pl": ("sekund*", "minut*, minuci*", "godzin*"),
    "ru": ("секунд*", "минут*", "час, часа, часов"),
    "tr": ("saniye*", "dakika*", "saat, saatte"),
    "uk": ("секунд*", "хвилин*", "годин*"),
    "ar": ("ثانية, ثواني, ثوان, الثواني", "دقيقة, دقائق, الدقيقة, الدقائق", "ساعة, ساعات, الساعة"),
    "hi": ("सेकंड*, सेकेंड*", "मिनट*", "घंटे, घंटा, घंटों"),
}

UNIT_PARTS: dict[str, tuple[str, str, str]] = {
    "zh": ("秒钟, 秒鐘, 秒", "分钟, 分鐘", "小时, 小時"),
    "ja": ("秒間, 秒", "分間, 分", "時間"),
    "ko": ("초", "분", "시간"),
}


# Of them, those of several without a number: about so many
_SOME = 4.0

MANY_WORDS = (
    "seconds, minutes, hours, sekunden, minuten, stunden, secondes, heures, segundos, minutos, horas, secondi, minuti, ore, "
    "seconden, uren, sekundy, minuty, godziny, секунды, минуты, часы, секунди, хвилини, години, ثواني, دقائق, الثواني, الدقائق"
)


# Two of them in one word
TWO_WORDS: tuple[str, str, str] = ("ثانيتين", "دقيقتين", "ساعتين")


# Words of numbers
NUMBER_WORDS: dict[float, str] = {
    0.5: "half, half a, halbe, halben, demi, demie, une demi, medio, media, mezzo, mezza, meio, meia, halve, pół, пол, пів, "
    "yarım, نصف, आधा, आधे",
    1: "a, an, one, ein, eine, einer, einem, einen, un, une, una, um, uma, een, één, jedną, jedna, одну, одна, bir, एक, واحدة",
    2: "two, a couple of, couple of, couple, zwei, deux, dos, due, dois, duas, twee, dwie, две, пару, iki, дві, दो",
    3: "three, drei, trois, tres, tre, três, drie, trzy, три, üç, तीन, ثلاث",
    4: "four, a few, few, several, some, vier, ein paar, paar, einige, einigen, wenigen, quatre, quelques, cuatro, unos, unas, "
    "pocos, quattro, qualche, pochi, alcuni, quatro, alguns, poucos, enkele, cztery, kilka, четыре, несколько, dört, "
    "birkaç, чотири, кілька, декілька, चार, कुछ, أربع, بضع",
    5: "five, fünf, cinq, cinco, cinque, vijf, pięć, пять, beş, п'ять, पाँच, पांच, خمس",
    6: "six, sechs, seis, sei, zes, sześć, шесть, altı, шість, छह, छः, ست",
    7: "seven, sieben, sept, siete, sette, sete, zeven, siedem, семь, yedi, сім, सात, سبع",
    8: "eight, acht, huit, ocho, otto, oito, osiem, восемь, sekiz, вісім, आठ, ثماني, ثمان",
    9: "nine, neun, neuf, nueve, nove, negen, dziewięć, девять, dokuz, дев'ять, नौ, تسع",
    10: "ten, zehn, dix, diez, dieci, dez, tien, dziesięć, десять, on, десять, दस, عشر",
    15: "fifteen, fünfzehn, quinze, quince, quindici, vijftien, piętnaście, пятнадцать, on beş, п'ятнадцять, पंद्रह, خمس عشرة",
    20: "twenty, zwanzig, vingt, veinte, venti, vinte, twintig, dwadzieścia, двадцать, yirmi, двадцять, बीस, عشرين",
    30: "thirty, dreißig, trente, treinta, trenta, trinta, dertig, trzydzieści, тридцать, otuz, тридцять, तीस, ثلاثين",
}

NUMBER_PARTS: dict[float, str] = {
    0.5: "半",
    1: "一, 일, 한",
    2: "两, 兩, 二, 이, 두",
    3: "三, 삼, 세",
    4: "四, 几, 幾, 数, 사, 네, 몇",
    5: "五, 오",
    6: "六, 육",
    7: "七, 칠",
    8: "八, 팔",
    9: "九, 구",
    10: "十, 십",
    15: "十五, 십오",
    20: "二十, 이십",
    30: "三十, 삼십",
}


# So long ago: these stand right before the number, or right behind the length of time
AGO_BEFORE = "vor, il y a, hace, há, faz, قبل, منذ"

AGO_AFTER = "ago, earlier, back, fa, atrás, geleden, eerder, terug, temu, wcześniej, назад, önce, evvel, тому, पहले"

AGO_AFTER_PARTS = "前, 之前, 以前, くらい前, ぐらい前, ほど前, 전, 쯤 전, 정도 전"


# In the last so much time
LAST_WORDS = (
    "last, past, previous, letzte, letzten, letzter, vergangenen, vergangene, dernier*, dernièr*, último*, última*, ultim*, "
    "laatste, afgelopen, ostatni*, последн*, за, son, останн*, الأخيرة, الماضية, آخر, पिछले, पिछली, आखिरी"
)

LAST_PARTS = "过去, 過去, 最近, 最后, 最後, この, 直近, 지난, 최근"


# Since the beginning
START_WORDS: dict[str, str] = {
    "en": "since i started, since we started, since you started, since i began, since the start, since the beginning, so far, "
    "all this time, the whole time",
    "de": "seit ich angefangen, seit ich gestartet, seit ich begonnen, seit dem start, seit beginn, seit anfang, von anfang an, "
    "bisher, die ganze zeit",
    "fr": "depuis que j'ai commencé, depuis le début, depuis le départ, jusqu'ici, jusqu'à présent, tout le temps",
    "es": "desde que empecé, desde que comencé, desde el principio, desde el inicio, hasta ahora, todo el tiempo",
    "it": "da quando ho iniziato, da quando ho cominciato, dall'inizio, finora, fino a ora, tutto il tempo",
    "pt": "desde que comecei, desde o início, desde o começo, até agora, o tempo todo",
    "nl": "sinds ik begon, sinds ik ben begonnen, sinds het begin, vanaf het begin, tot nu toe, de hele tijd",
    "pl": "odkąd zacząłem, odkąd zaczęłam, od początku, od startu, do tej pory, do teraz, cały czas",
    "ru": "с тех пор как я начал*, с самого начала, с начала, до сих пор, всё это время, всё время",
    "tr": "başladığımdan beri, başından beri, baştan beri, şimdiye kadar, bunca zaman",
    "uk": "відколи я почав*, відтоді як я почав*, від початку, з самого початку, дотепер, досі, весь час",
    "ar": "منذ أن بدأت, منذ البداية, من البداية, حتى الآن, طوال الوقت",
    "hi": "जब से मैंने शुरू, शुरू से, शुरुआत से, अब तक, पूरे समय",
}

START_PARTS: dict[str, str] = {
    "zh": "自从我开始, 自從我開始, 从我开始, 從我開始, 从开始, 從開始, 一开始, 一開始, 到目前为止, 到目前為止, 迄今",
    "ja": "始めてから, 開始してから, 最初から, 今まで, これまで",
    "ko": "시작한 후, 시작한 뒤, 시작한 이후, 시작하고 나서, 처음부터, 지금까지",
}


# People guess: a time ago may be half of its unit more or less, and this share of it, and some seconds.
_GUESSED, _MARGIN = 0.35, 5.0


# Characters before a length of time, and behind it, in which its number and "last" and "ago" stand
_BEFORE, _BEHIND = 28, 12


@dataclass(frozen=True, slots=True)
class Span:
    """A time in the past, in seconds before the question. `since` may be infinite, `until` is less and at least 0."""

    since: float
    until: float


def span_in(question: str) -> Span | None:
    """Find the time that a question names; None without one. The last one counts."""
    return span_of(plain(ends(question)))


def span_of(text: str) -> Span | None:
    """Find the time that a `plain` text of bounded length names."""
    for match in reversed(list(_UNIT.finditer(text))):
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        behind = text[match.end() : match.end() + _BEHIND]
        seconds, unit = _length(match[0], before)
        if seconds and _LAST.search(f"{before}{match[0]}{behind}"):
            return Span(seconds, 0.0)
        ago = _AGO_AFTER.match(behind.lstrip()) or _AGO_BEFORE.search(before)
        if seconds and ago and unit < _HOUR:
            return span_ago(seconds, unit)
    return Span(math.inf, 0.0) if _START.search(text) else None


def span_ago(seconds: float, unit: float = 1.0) -> Span:
    """Return what "so many seconds ago" means, of which people guess. `unit`: seconds of the unit that they name."""
    margin = max(unit / 2, _GUESSED * seconds) + _MARGIN
    return Span(seconds + margin, max(0.0, seconds - margin))


def _length(word: str, before: str) -> tuple[float, float]:
    """Return the seconds of a length of time, 0 when it is none, and those of its unit."""
    if (unit := _TWO.get(word)) is not None:
        return 2 * unit, unit
    unit = next(unit for unit, pattern in _UNITS.items() if pattern.fullmatch(word))
    numbers = list(_NUMBER.finditer(before))
    if numbers:
        number = numbers[-1][0]
        return (float(number) if number.isdecimal() else _NUMBERS[number]) * unit, unit
    if _PARTS.fullmatch(word):
        # A character with other meanings
        return 0.0, unit
    return (_SOME if _MANY.fullmatch(word) else 1.0) * unit, unit


def _joined(tables: dict[str, tuple[str, str, str]], at: int) -> str:
    return ",".join(words[at] for words in tables.values())


def _choices(tables: dict[float, str]) -> str:
    return ",".join(tables.values())


_UNITS = {
    unit: word_pattern(_joined(UNIT_WORDS, at), _joined(UNIT_PARTS, at))
    for at, unit in enumerate((_SECOND, _MINUTE, _HOUR))
}

_ALL_PARTS = ",".join(_joined(UNIT_PARTS, at) for at in range(3))

_UNIT = word_pattern(
    ",".join([*(_joined(UNIT_WORDS, at) for at in range(3)), *TWO_WORDS]), _ALL_PARTS
)

_PARTS = word_pattern(_ALL_PARTS)

_TWO = {plain(word): unit for word, unit in zip(TWO_WORDS, _UNITS, strict=True)}

_MANY = word_pattern(MANY_WORDS)

_NUMBERS = {
    plain(word.strip()): value
    for tables in (NUMBER_WORDS, NUMBER_PARTS)
    for value, words in tables.items()
    for word in words.split(",")
}

_NUMBER = re.compile(
    rf"\d{{1,4}}|{word_pattern(_choices(NUMBER_WORDS), _choices(NUMBER_PARTS)).pattern}"
)

_AGO_BEFORE = word_pattern(AGO_BEFORE)

_AGO_AFTER = word_pattern(AGO_AFTER, AGO_AFTER_PARTS)

_LAST = word_pattern(LAST_WORDS, LAST_PARTS)

_START = word_pattern(",".join(START_WORDS.values()), ",".join(START_PARTS.values()))


# Words that ask for a text to be read on over several pictures, and words that end it. Pure.

# By language. "Read this" alone asks for the text of one picture; see `routing.DETAIL_WORDS`.
READ_WORDS: dict[str, str] = {
    "en": "read this to me, read that to me, read it to me, read these to me, read them to me, read to me, read me this, "
    "read me that, read me the page, read me the text, read me the label, read me the letter, read me everything, "
    "read the page to me, read the text to me, read the label to me, read the letter to me, read this page to me, "
    "read this text to me, read this label to me, read this letter to me, read all of this to me, read everything to me, "
    "read this aloud, read it aloud, read aloud, read this out loud, read it out loud, read out loud, read on, keep reading, "
    "continue reading, go on reading",
    "de": "lies mir vor, lies mir das vor, lies mir dies vor, lies mir dieses vor, lies mir den text vor, lies mir die seite vor, "
    "lies mir das etikett vor, lies mir den brief vor, lies mir alles vor, lies mir das bitte vor, lies es mir vor, "
    "lies das mir vor, lesen sie mir vor, lesen sie mir das vor, lesen sie es mir vor, mir das vorlesen, es mir vorlesen, mir vorlesen, laut vorlesen, lies laut vor, "
    "lies das laut vor, lies weiter, weiter vorlesen, weiterlesen",
    "fr": "lis-moi ça, lis-moi cela, lis-moi ceci, lis-moi tout, lis-moi le texte, lis-moi ce texte, lis-moi la page, "
    "lis-moi cette page, lis-moi l'étiquette, lis-moi cette étiquette, lis-moi la lettre, lis-moi cette lettre, lisez-moi ça, lisez-moi cela, lisez-moi ceci, lisez-moi tout, lis-le-moi, "
    "lisez-le-moi, me lire ça, me lire cela, me le lire, lis à haute voix, lis à voix haute, lis ça à haute voix, lis ça à voix haute, "
    "continue à lire, continue de lire",
    "es": "léeme esto, léeme eso, léeme todo, léeme el texto, léeme este texto, léeme la página, léeme esta página, "
    "léeme la etiqueta, léeme la carta, léemelo, leerme esto, leerme eso, leérmelo, léame esto, léamelo, lee en voz alta, "
    "lee esto en voz alta, leer en voz alta, sigue leyendo",
    "it": "leggimi questo, leggimi tutto, leggimi il testo, leggimi la pagina, leggimi questa pagina, leggimi l'etichetta, "
    "leggimelo, leggermi questo, leggermelo, leggi ad alta voce, leggilo ad alta voce, continua a leggere",
    "pt": "lê isto para mim, lê isso para mim, lê para mim, lê-me isto, lê-me isso, leia isto para mim, leia isso para mim, "
    "leia para mim, leia-me isto, ler isto para mim, ler isso para mim, lê em voz alta, leia em voz alta, continua a ler, continue lendo",
    "nl": "lees me voor, lees me dit voor, lees me dat voor, lees mij voor, lees mij dit voor, lees dit aan mij voor, "
    "lees het aan mij voor, lees het me voor, me voorlezen, hardop voorlezen, lees hardop, lees verder, verder lezen",
    "pl": "przeczytaj mi to, przeczytaj mi, czytaj mi, przeczytaj na głos, przeczytaj to na głos, czytaj na głos, czytaj dalej",
    "ru": "прочитай мне, прочитай мне это, прочитай это мне, прочти мне, прочти мне это, прочитайте мне, почитай мне, "
    "читай мне, прочитай вслух, прочитай это вслух, прочти вслух, читай вслух, читай дальше",
    "tr": "bana oku, bunu bana oku, bana bunu oku, şunu bana oku, hepsini bana oku, metni bana oku, sayfayı bana oku, "
    "etiketi bana oku, sesli oku, bunu sesli oku, yüksek sesle oku, okumaya devam et, devamını oku",
    "uk": "прочитай мені, прочитай мені це, прочитай це мені, прочитайте мені, читай мені, почитай мені, "
    "прочитай уголос, прочитай вголос, прочитай це вголос, читай уголос, читай вголос, читай далі",
    "ar": "اقرأ لي, اقرأ لي هذا, اقرأ هذا لي, اقرأه لي, اقرأها لي, اقرأ لي النص, اقرأ لي الصفحة, اقرأ بصوت عال, "
    "اقرأ هذا بصوت عال, تابع القراءة, واصل القراءة",
    "hi": "मुझे पढ़कर सुनाओ, यह मुझे पढ़कर सुनाओ, पढ़कर सुनाओ, पढ़कर सुनाइए, पढ़ कर सुनाओ, पढ़ कर सुनाइए, "
    "मुझे पढ़ के सुनाओ, ज़ोर से पढ़ो, जोर से पढ़ो, पढ़ते रहो, आगे पढ़ो",
}

READ_PARTS: dict[str, str] = {
    "zh": "读给我听, 讀給我聽, 念给我听, 念給我聽, 读给我, 念给我, 讀給我, 念給我, 读出来, 讀出來, 念出来, 念出來, 大声读, 大聲讀, 朗读, 朗讀, 继续读, 繼續讀, 接着读, 接著讀",
    "ja": "読み上げ, 読んで聞かせ, 声に出して読, 音読, 続きを読",
    "ko": "소리 내어 읽, 소리내어 읽, 소리 내서 읽, 소리내서 읽, 나에게 읽어, 나한테 읽어, 저에게 읽어, 낭독, 계속 읽",
}


# A whole question of these words, with courtesies, ends it.
STOP_WORDS: dict[str, str] = {
    "en": "stop, stop it, stop reading, stop now, enough, that's enough, quiet, be quiet, cancel",
    "de": "stopp, stop, halt, hör auf, aufhören, genug, das reicht, reicht, ruhe, abbrechen, schluss",
    "fr": "arrête, arrêtez, arrête-toi, arrête de lire, stop, assez, ça suffit, silence",
    "es": "para, pare, parar, detente, basta, alto, silencio, ya basta, deja de leer",
    "it": "ferma, fermati, basta, stop, smetti, smettila, silenzio",
    "pt": "para, pare, parar, chega, basta, silêncio",
    "nl": "stop, stoppen, genoeg, hou op, houd op, ophouden, stil",
    "pl": "stop, dość, wystarczy, przestań, cisza, koniec",
    "ru": "стоп, хватит, достаточно, остановись, остановитесь, перестань, тихо, замолчи",
    "zh": "停, 停下, 停止, 停下来, 停下來, 别读了, 別讀了, 不要读了, 够了, 夠了, 好了",
    "ja": "止めて, やめて, ストップ, 止まれ, もういい",
    "ko": "그만, 멈춰, 스톱, 정지, 됐어, 그만해",
    "tr": "dur, durdur, yeter, tamam yeter, sus, kes, bitir, okumayı bırak",
    "uk": "стоп, досить, годі, зупинись, зупиніться, припини, тихо, замовкни",
    "ar": "توقف, قف, كفى, يكفي, اسكت, صمت, أوقف القراءة",
    "hi": "रुको, रुकिए, रुक जाओ, बस, बस करो, बंद करो, चुप, काफ़ी है",
}

_COURTESIES = "please, now, okay, ok, thanks, thank you, bitte, danke, jetzt, s'il te plaît, s'il vous plaît, merci, por favor, "

_COURTESIES += "gracias, ahora, per favore, grazie, obrigado, obrigada, alsjeblieft, alstublieft, dank je, proszę, dziękuję, пожалуйста, спасибо, "

_COURTESIES += "lütfen, teşekkürler, şimdi, будь ласка, дякую, من فضلك, شكرا, कृपया, धन्यवाद"


# Of languages that write them without a space
_COURTESY_PARTS = "请, 請, ください, 下さい, 주세요, 줘"

_READ = word_pattern(",".join(READ_WORDS.values()), ",".join(READ_PARTS.values()))

_STOP = {plain(word.strip()) for words in STOP_WORDS.values() for word in words.split(",") if word}

_COURTESY = word_pattern(_COURTESIES, _COURTESY_PARTS)


# No command is longer.
_MOST_STOP = 60


def wants_reading(text: str) -> bool:
    """Find whether a question, as `plain` text, asks for a text to be read on."""
    return _READ.search(text) is not None


def bare(said: str) -> str:
    """Return what somebody says as `plain` words, without courtesies and punctuation."""
    words = re.sub(rf"[^\w{WORD_MARKS}'\- ]+", " ", _COURTESY.sub(" ", plain(said)))
    return " ".join(words.split())


def is_stop(question: str) -> bool:
    """Find whether somebody says nothing but that it is enough."""
    if len(question) > _MOST_STOP:
        return False
    return bare(question) in _STOP
