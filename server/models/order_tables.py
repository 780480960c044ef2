"""The words of orders, by language; no words that somebody would ask about what is in view. Pure.

See `order_words.py`.
"""

from __future__ import annotations

AGAIN_WORDS: dict[str, str] = {
    "en": "again, once more, repeat, repeat that, repeat it, say again, say that again, say it again, louder, speak up, "
    "pardon, come again, what did you say",
    "de": "noch einmal, nochmal, noch mal, wiederhole, wiederholen, wiederhole das, sag das noch einmal, sag das nochmal, "
    "lauter, wie war das, was hast du gesagt",
    "fr": "encore, encore une fois, répète, répétez, répète ça, redis-le, plus fort, qu'as-tu dit, qu'est-ce que tu as dit",
    "es": "otra vez, de nuevo, repite, repita, repítelo, repite eso, dilo otra vez, más alto, más fuerte, qué has dicho",
    "it": "ancora, ancora una volta, di nuovo, ripeti, ripetilo, più forte, cosa hai detto",
    "pt": "outra vez, de novo, mais uma vez, repete, repita, repete isso, mais alto, o que disseste, o que você disse",
    "nl": "nog een keer, nog eens, opnieuw, herhaal, herhaal dat, zeg dat nog eens, harder, wat zei je",
    "pl": "jeszcze raz, powtórz, powtórz to, powiedz jeszcze raz, głośniej, co powiedziałeś",
    "ru": "ещё раз, повтори, повторите, повтори это, скажи еще раз, громче, что ты сказал",
    "zh": "再说一遍, 再說一遍, 再说一次, 再說一次, 重复, 重複, 再来一次, 大声点, 大聲點, 大声一点",
    "ja": "もう一度, もう一回, もう一度言って, 繰り返して, 大きな声で",
    "ko": "다시, 다시 한번, 한 번 더, 다시 말해, 더 크게, 크게 말해 줘",
    "tr": "tekrar, tekrar et, tekrarla, bir daha, bir daha söyle, yeniden söyle, daha yüksek sesle, ne dedin",
    "uk": "ще раз, повтори, повторіть, повтори це, скажи ще раз, голосніше, що ти сказав",
    "ar": "مرة أخرى, كرر, أعد, أعد ذلك, كرر ذلك, قلها مرة أخرى, بصوت أعلى, ماذا قلت",
    "hi": "फिर से, एक बार फिर, दोहराओ, दोहराइए, फिर से कहो, ज़ोर से बोलो, क्या कहा",
}
DESCRIBE_WORDS: dict[str, str] = {
    "en": "describe, start describing, keep describing, describe continuously, go on describing, start the description, "
    "begin to describe",
    "de": "beschreibe, beschreiben, beschreib, beschreibe laufend, beschreibe ständig, fang an zu beschreiben, "
    "beschreibung starten, starte die beschreibung",
    "fr": "décris, décrire, décrivez, commence à décrire, décris en continu, lance la description",
    "es": "describe, describir, empieza a describir, describe continuamente, inicia la descripción",
    "it": "descrivi, descrivere, inizia a descrivere, descrivi continuamente, avvia la descrizione",
    "pt": "descreve, descreva, descrever, começa a descrever, comece a descrever, inicia a descrição",
    "nl": "beschrijf, beschrijven, begin met beschrijven, blijf beschrijven, start de beschrijving",
    "pl": "opisuj, opisz, zacznij opisywać, opisuj dalej, zacznij opis",
    "ru": "описывай, опиши, описывать, начни описывать, продолжай описывать, начни описание",
    "zh": "描述, 开始描述, 開始描述, 持续描述, 持續描述, 一直描述",
    "ja": "説明, 説明を始めて, 説明し続けて, 描写して",
    "ko": "설명, 설명 시작, 설명을 시작해, 계속 설명해, 묘사해",
    "tr": "betimle, anlat, anlatmaya başla, betimlemeye başla, anlatmaya devam et, sürekli anlat",
    "uk": "описуй, опиши, описувати, почни описувати, продовжуй описувати, почни опис",
    "ar": "صف, صف لي, ابدأ الوصف, استمر في الوصف, ابدأ بالوصف",
    "hi": "वर्णन करो, वर्णन कीजिए, वर्णन शुरू करो, बताते रहो, वर्णन करते रहो",
}
NOTABLE_WORDS: dict[str, str] = {
    "en": "what would i want to know, tell me what matters, tell me what i should know, tell me what is important, "
    "only tell me what matters, watch out for me, look out for me",
    "de": "was würde ich wissen wollen, was sollte ich wissen, was muss ich wissen, sag mir was wichtig ist, "
    "sag mir nur was wichtig ist, sag mir was zählt, pass für mich auf",
    "fr": "que voudrais-je savoir, qu'est-ce que je voudrais savoir, dis-moi ce qui compte, "
    "dis-moi ce qui est important, dis-moi ce que je dois savoir, fais attention pour moi",
    "es": "qué querría saber, qué me gustaría saber, dime lo que importa, dime qué importa, dime lo importante, "
    "dime lo que debo saber, está atento por mí",
    "it": "che cosa vorrei sapere, cosa vorrei sapere, dimmi che cosa conta, dimmi cosa conta, "
    "dimmi le cose importanti, dimmi che cosa devo sapere, stai attento per me",
    "pt": "o que eu gostaria de saber, o que quereria saber, diz-me o que importa, diga-me o que importa, "
    "me diga o que importa, diz-me o que é importante, me diga o que é importante",
    "nl": "wat zou ik willen weten, wat moet ik weten, zeg me wat belangrijk is, zeg mij wat belangrijk is, "
    "zeg wat ertoe doet, vertel me wat ertoe doet, let voor me op",
    "pl": "co chciałbym wiedzieć, co chciałabym wiedzieć, co powinienem wiedzieć, co powinnam wiedzieć, "
    "mów mi co ważne, powiedz mi co ważne, powiedz mi co jest ważne, uważaj za mnie",
    "ru": "что мне нужно знать, что мне стоит знать, что я хотел бы знать, что я хотела бы знать, говори мне о важном, "
    "говори что важно, скажи что важно, будь начеку",
    "uk": "що мені треба знати, що мені варто знати, що я хотів би знати, що я хотіла б знати, кажи мені про важливе, "
    "кажи що важливо, скажи що важливо, пильнуй для мене",
    "tr": "neyi bilmek isterdim, neyi bilmek isterim, bilmem gerekeni söyle, bilmem gerekenleri söyle, "
    "önemli olanı söyle, bana önemli olanı söyle, benim için dikkat et",
    "zh": "我想知道什么, 我想知道什麼, 我需要知道什么, 我需要知道什麼, 告诉我重要的事, 告訴我重要的事, 只说重要的, 只說重要的, 帮我留意, 幫我留意",
    "ja": "何を知っておくべき, 知っておくべきことは, 知っておくべきことを教えて, 大事なことを教えて, 大切なことを教えて, 重要なことだけ教えて",
    "ko": "내가 알아야 할 것은, 내가 알아야 할 게 뭐야, 알아야 할 것을 알려 줘, 중요한 것을 알려 줘, 중요한 것만 알려 줘, 중요한 것만 말해 줘",
    "ar": "ما الذي أود معرفته, ماذا أود أن أعرف, ما الذي يجب أن أعرفه, أخبرني بما يهم, أخبرني بالمهم, قل لي ما يهم, "
    "انتبه من أجلي",
    "hi": "मुझे क्या जानना चाहिए, मैं क्या जानना चाहूँगा, मैं क्या जानना चाहूँगी, मुझे ज़रूरी बातें बताओ, "
    "ज़रूरी बातें बताओ, जो ज़रूरी है वह बताओ",
}
DESCRIBE_OFF_WORDS: dict[str, str] = {
    "en": "stop describing, stop describing it, stop the description, end the description, description off, "
    "describe no more, no more descriptions, don't describe, don't describe any more",
    "de": "hör auf zu beschreiben, nicht mehr beschreiben, beschreibe nicht mehr, beschreibung aus, "
    "beschreibung beenden, beende die beschreibung, beschreibung stoppen, stoppe die beschreibung, "
    "keine beschreibung mehr",
    "fr": "arrête de décrire, arrêtez de décrire, ne décris plus, ne décrivez plus, arrête la description, "
    "arrêtez la description, termine la description, fin de la description",
    "es": "deja de describir, deje de describir, no describas más, no describa más, para la descripción, "
    "detén la descripción, termina la descripción",
    "it": "smetti di descrivere, smetta di descrivere, non descrivere più, ferma la descrizione, "
    "termina la descrizione, basta descrizioni",
    "pt": "para de descrever, pare de descrever, deixa de descrever, não descrevas mais, não descreva mais, "
    "para a descrição, pare a descrição, termina a descrição, termine a descrição",
    "nl": "stop met beschrijven, hou op met beschrijven, houd op met beschrijven, niet meer beschrijven, "
    "beschrijf niet meer, stop de beschrijving, beschrijving uit",
    "pl": "przestań opisywać, nie opisuj, nie opisuj więcej, zakończ opis, zatrzymaj opis, koniec opisu, wyłącz opis",
    "ru": "перестань описывать, перестаньте описывать, не описывай, не описывай больше, хватит описывать, "
    "останови описание, закончи описание, прекрати описание",
    "zh": "停止描述, 结束描述, 結束描述, 别描述了, 別描述了, 不要描述了, 不用描述了, 关闭描述, 關閉描述",
    "ja": "説明をやめて, 説明を止めて, 説明しないで, 説明終了, 説明を終わって, 説明を終了して, 描写をやめて",
    "ko": "설명 중지, 설명 그만, 설명 그만해, 설명을 멈춰, 설명하지 마, 설명 꺼, 그만 설명해",
    "tr": "betimlemeyi bırak, betimlemeyi durdur, anlatmayı bırak, anlatmayı kes, anlatmayı durdur, artık anlatma",
    "uk": "перестань описувати, перестаньте описувати, не описуй, не описуй більше, досить описувати, зупини опис, "
    "закінчи опис, припини опис",
    "ar": "توقف عن الوصف, أوقف الوصف, لا تصف, كفى وصفا, أنه الوصف",
    "hi": "वर्णन बंद करो, वर्णन बंद कीजिए, वर्णन रोको, वर्णन मत करो, और वर्णन नहीं, बताना बंद करो",
}
HOLD_WORDS: dict[str, str] = {
    "en": "hold, hold it, hold the picture, hold this picture, hold that picture, hold the image, freeze, freeze it, "
    "freeze the picture, freeze this picture, freeze the image, keep the picture, keep this picture",
    "de": "halten, halte das bild, halte das bild fest, halte das bild an, bild halten, bild festhalten, "
    "das bild festhalten, bild anhalten, das bild anhalten, friere das bild ein, bild einfrieren, "
    "das bild einfrieren, behalte das bild, standbild",
    "fr": "retenir, fige l'image, figez l'image, figer l'image, retiens l'image, retenez l'image, retenir l'image, "
    "garde l'image, gardez l'image, garder l'image, garde cette image, gèle l'image, bloque l'image, arrêt sur image",
    "es": "retener, retén la imagen, retenga la imagen, retener la imagen, congela la imagen, congele la imagen, "
    "congelar la imagen, mantén la imagen, mantenga la imagen, mantener la imagen, fija la imagen, fijar la imagen",
    "it": "trattieni, trattieni l'immagine, trattenga l'immagine, trattenere l'immagine, blocca l'immagine, "
    "blocchi l'immagine, bloccare l'immagine, ferma l'immagine, tieni l'immagine, congela l'immagine, fermo immagine",
    "pt": "reter, retém a imagem, retenha a imagem, reter a imagem, congela a imagem, congele a imagem, "
    "congelar a imagem, segura a imagem, segure a imagem, segurar a imagem, mantém a imagem, mantenha a imagem, "
    "fixa a imagem, fixar a imagem",
    "nl": "vasthouden, houd het beeld vast, hou het beeld vast, beeld vasthouden, het beeld vasthouden, "
    "bevries het beeld, beeld bevriezen, het beeld bevriezen, zet het beeld stil, beeld stilzetten",
    "pl": "zatrzymaj obraz, zatrzymaj ten obraz, zatrzymać obraz, przytrzymaj obraz, zamroź obraz, zamrozić obraz, "
    "zatrzymaj kadr, zamroź kadr, stopklatka",
    "ru": "удержать, удержи кадр, удержи картинку, удержите картинку, держи картинку, удержи изображение, "
    "заморозь картинку, заморозь изображение, заморозь кадр, останови картинку, останови изображение, останови кадр, "
    "зафиксируй картинку, зафиксируй изображение, зафиксируй кадр, стоп-кадр, стоп кадр",
    "zh": "定格, 定格画面, 定格畫面, 画面定格, 畫面定格, 保持画面, 保持畫面, 固定画面, 固定畫面, 冻结画面, 凍結畫面, 停住画面, 停住畫面, 暂停画面, 暫停畫面, 锁定画面, 鎖定畫面",
    "ja": "固定, 画面を固定, 画面を固定して, 画面を止めて, 画像を固定, 画像を固定して, 画像を止めて, 映像を固定して, 映像を止めて, 静止画にして, フリーズ, フリーズして",
    "ko": "고정, 고정해, 화면 고정, 화면 고정해, 화면을 고정해, 화면 멈춰, 화면을 멈춰, 화면 정지, 정지 화면",
    "tr": "tut, görüntüyü tut, görüntüyü dondur, görüntüyü sabitle, görüntüyü durdur, resmi tut, resmi dondur, "
    "resmi sabitle, kareyi dondur",
    "uk": "утримати, утримай кадр, утримай зображення, утримуй зображення, тримай зображення, заморозь зображення, "
    "заморозь картинку, заморозь кадр, зупини зображення, зупини картинку, зупини кадр, зафіксуй зображення, "
    "зафіксуй картинку, зафіксуй кадр, стоп-кадр, стоп кадр",
    "ar": "تثبيت, ثبت الصورة, ثبتي الصورة, تثبيت الصورة, جمد الصورة, تجميد الصورة, احتفظ بالصورة, أوقف الصورة",
    "hi": "रोककर रखें, तस्वीर रोको, तस्वीर रोकिए, तस्वीर रोक दो, तस्वीर को रोको, तस्वीर रोककर रखो, चित्र रोको, "
    "चित्र रोकिए, चित्र को रोको, तस्वीर फ़्रीज़ करो, तस्वीर फ्रीज करो",
}
RELEASE_WORDS: dict[str, str] = {
    "en": "release, release it, release the picture, release the image, let go, let it go, let go of it, "
    "let go of the picture, let the picture go, unfreeze, unfreeze it, unfreeze the picture, go live, go on live, "
    "go live again, live again, back to live, back to the live picture",
    "de": "loslassen, lass los, lass es los, lass das bild los, bild loslassen, das bild loslassen, gib das bild frei, "
    "bild freigeben, das bild freigeben, wieder live, live weiter, weiter live, zurück zum livebild",
    "fr": "relâche, relâcher, relâche l'image, relâchez l'image, relâcher l'image, libère l'image, libérez l'image, "
    "libérer l'image, lâche l'image, débloque l'image, dégèle l'image, reviens en direct, revenir en direct, "
    "retour au direct, reprends le direct",
    "es": "suelta, suéltala, suelta la imagen, suelte la imagen, soltar la imagen, libera la imagen, libere la imagen, "
    "liberar la imagen, descongela la imagen, descongelar la imagen, vuelve al directo, volver al directo, "
    "sigue en vivo, sigue en directo",
    "it": "rilascia, rilascia l'immagine, rilasci l'immagine, rilasciare l'immagine, libera l'immagine, "
    "sblocca l'immagine, sbloccare l'immagine, torna in diretta, torna dal vivo, riprendi la diretta",
    "pt": "soltar, solta a imagem, solte a imagem, soltar a imagem, liberta a imagem, libertar a imagem, "
    "libere a imagem, liberar a imagem, descongela a imagem, descongele a imagem, descongelar a imagem, "
    "volta ao vivo, volte ao vivo, voltar ao vivo, volta ao direto",
    "nl": "loslaten, laat los, laat het los, laat het beeld los, beeld loslaten, het beeld loslaten, "
    "geef het beeld vrij, beeld vrijgeven, weer live, ga live verder, ga verder live, terug naar live",
    "pl": "puść obraz, zwolnij obraz, zwolnić obraz, puść kadr, odmroź obraz, odblokuj obraz, wróć na żywo, "
    "dalej na żywo",
    "ru": "отпусти, отпустить, отпусти кадр, отпусти картинку, отпустите картинку, отпустить картинку, "
    "отпусти изображение, разморозь картинку, разморозь изображение, разморозь кадр, вернись к живой картинке, "
    "снова вживую",
    "zh": "放开画面, 放開畫面, 释放画面, 釋放畫面, 取消定格, 解除定格, 取消固定, 解除固定, 恢复画面, 恢復畫面, 恢复实时, 恢復即時, 继续实时, 繼續即時, 回到实时画面, 回到即時畫面, 解锁画面, "
    "解鎖畫面",
    "ja": "解除, 固定解除, 固定を解除, 固定を解除して, 画面の固定を解除して, 画像の固定を解除して, 画面を動かして, 映像を再開して, ライブに戻して, ライブに戻って, ライブに戻る",
    "ko": "고정 해제, 고정 해제해, 고정을 해제해, 고정을 풀어, 화면 고정 해제, 화면 풀어, 화면을 풀어, 다시 실시간으로, 실시간으로 돌아가, 라이브로 돌아가",
    "tr": "görüntüyü bırak, görüntüyü serbest bırak, görüntüyü çöz, resmi bırak, resmi serbest bırak, canlıya dön, "
    "canlı görüntüye dön, canlı devam et",
    "uk": "відпусти, відпустити, відпусти кадр, відпусти зображення, відпустіть зображення, відпусти картинку, "
    "відпустити зображення, розморозь зображення, розморозь картинку, розморозь кадр, "
    "повернись до живого зображення, знову наживо",
    "ar": "حرر الصورة, تحرير الصورة, أفلت الصورة, اترك الصورة, فك الصورة, ألغ التثبيت, إلغاء التثبيت, "
    "ألغ تثبيت الصورة, عد إلى البث المباشر, عد إلى الصورة المباشرة",
    "hi": "तस्वीर छोड़ो, तस्वीर छोड़ दो, तस्वीर छोड़िए, तस्वीर को छोड़ दो, चित्र छोड़ो, चित्र छोड़ दो, फिर से लाइव, "
    "लाइव पर वापस जाओ",
}
GUIDE_WORDS: dict[str, str] = {
    "en": "guide, guide me, guide the camera, start guiding, start guiding me, help me aim, help me aim the camera, "
    "help me point the camera, guidance on, turn on guidance, turn guidance on, turn the guidance on, hints on, "
    "turn the hints on, turn on the hints, give me hints",
    "de": "führe mich, führ mich, führe die kamera, kamera führen, leite mich, leite mich an, hilf mir zielen, "
    "hilf mir beim zielen, hilf mir beim ausrichten, hilf mir die kamera auszurichten, hinweise an, hinweise ein, "
    "hinweise einschalten, schalte die hinweise ein, gib mir hinweise",
    "fr": "guide-moi, guide moi, guidez-moi, guider la caméra, aide-moi à viser, aidez-moi à viser, aide-moi à cadrer, "
    "aidez-moi à cadrer, aide-moi à orienter la caméra, active le guidage, active les indications, "
    "donne-moi des indications",
    "es": "guíame, guíeme, guiar la cámara, ayúdame a apuntar, ayúdeme a apuntar, ayúdame a encuadrar, "
    "ayúdeme a encuadrar, activa la guía, activa las indicaciones, dame indicaciones",
    "it": "guidami, mi guidi, guida la fotocamera, aiutami a inquadrare, mi aiuti a inquadrare, aiutami a puntare, "
    "attiva la guida, attiva le indicazioni, dammi indicazioni",
    "pt": "guia-me, guie-me, me guia, me guie, guiar a câmera, guiar a câmara, ajuda-me a apontar, ajude-me a apontar, "
    "me ajuda a apontar, me ajude a apontar, ajuda-me a enquadrar, me ajude a enquadrar, liga as dicas, "
    "ligue as dicas, ativa as dicas, ative as dicas, dá-me dicas, me dê dicas",
    "nl": "begeleid me, begeleid mij, leid me, de camera leiden, help me richten, help mij richten, help me mikken, "
    "help me met richten, begin met begeleiden, aanwijzingen aan, zet de aanwijzingen aan, geef me aanwijzingen",
    "pl": "prowadź mnie, poprowadź mnie, prowadź kamerę, naprowadzaj mnie, naprowadź mnie, pomóż mi celować, "
    "pomóż mi wycelować, pomóż mi ustawić kamerę, włącz wskazówki, włącz naprowadzanie, dawaj mi wskazówki",
    "ru": "направляй меня, направляй камеру, направлять камеру, веди меня, помоги навести, помоги мне навести, "
    "помоги навести камеру, помоги мне навести камеру, помогите навести камеру, включи подсказки, "
    "включите подсказки, подсказывай, подсказывай мне",
    "zh": "引导我, 引導我, 引导摄像头, 引導攝像頭, 指引我, 帮我对准, 幫我對準, 帮我瞄准, 幫我瞄準, 开始引导, 開始引導, 打开引导, 打開引導, 开启引导, 開啟引導, 打开提示, 打開提示",
    "ja": "案内して, 誘導して, 誘導を始めて, ガイド, ガイドして, ガイドを始めて, ガイドオン, カメラをガイド, カメラをガイドして, ヒントを出して",
    "ko": "안내해, 나를 안내해, 카메라 안내, 안내 시작, 안내를 시작해, 안내 켜, 안내를 켜, 조준을 도와, 카메라 맞추는 것을 도와, 힌트 켜, 가이드 켜",
    "tr": "yönlendir, beni yönlendir, kamerayı yönlendir, yönlendirmeye başla, yönlendirmeyi aç, ipuçlarını aç, "
    "bana ipucu ver, nişan almama yardım et, kamerayı doğrultmama yardım et, hizalamama yardım et",
    "uk": "спрямовуй мене, спрямовуй камеру, спрямовувати камеру, веди мене, допоможи навести, допоможи мені навести, "
    "допоможи навести камеру, допоможи мені навести камеру, увімкни підказки, ввімкни підказки, підказуй, "
    "підказуй мені",
    "ar": "وجهني, أرشدني, توجيه الكاميرا, ساعدني على التصويب, ساعدني في توجيه الكاميرا, ساعدني على توجيه الكاميرا, "
    "شغل التوجيه, شغل الإرشادات, شغل التلميحات, ابدأ التوجيه, أعطني تلميحات",
    "hi": "मेरा मार्गदर्शन करो, मेरा मार्गदर्शन कीजिए, मार्गदर्शन करो, मार्गदर्शन शुरू करो, मार्गदर्शन चालू करो, "
    "कैमरे का मार्गदर्शन, कैमरा सही करने में मदद करो, निशाना लगाने में मदद करो, मुझे गाइड करो, गाइड करो, संकेत दो, "
    "संकेत चालू करो",
}
GUIDE_OFF_WORDS: dict[str, str] = {
    "en": "stop guiding, stop guiding me, stop guidance, stop the guidance, guidance off, turn off guidance, "
    "turn off the guidance, turn guidance off, turn the guidance off, don't guide me, no hints, no more hints, "
    "stop the hints, hints off, turn off the hints, turn the hints off",
    "de": "hör auf zu führen, hör auf mich zu führen, führe mich nicht mehr, nicht mehr führen, keine hinweise, "
    "keine hinweise mehr, hinweise aus, hinweise ausschalten, schalte die hinweise aus",
    "fr": "arrête de guider, arrête de me guider, arrêtez de me guider, ne me guide plus, ne me guidez plus, "
    "arrête le guidage, désactive le guidage, désactive les indications, pas d'indications, plus aucune indication",
    "es": "deja de guiar, deja de guiarme, deje de guiarme, no me guíes, no me guíes más, desactiva la guía, "
    "desactiva las indicaciones, quita las indicaciones, sin indicaciones, no más indicaciones",
    "it": "smetti di guidare, smetti di guidarmi, smetta di guidarmi, non guidarmi, non guidarmi più, "
    "disattiva la guida, disattiva le indicazioni, niente indicazioni, niente più indicazioni, basta indicazioni",
    "pt": "para de me guiar, pare de me guiar, deixa de me guiar, não me guies, não me guie, não me guie mais, "
    "desliga as dicas, desligue as dicas, desativa as dicas, desative as dicas, sem dicas, chega de dicas",
    "nl": "stop met begeleiden, stop met leiden, hou op met begeleiden, begeleid me niet meer, geen aanwijzingen, "
    "geen aanwijzingen meer, aanwijzingen uit, zet de aanwijzingen uit",
    "pl": "przestań prowadzić, przestań mnie prowadzić, nie prowadź mnie, przestań naprowadzać, wyłącz wskazówki, "
    "wyłącz naprowadzanie, bez wskazówek, żadnych wskazówek, koniec wskazówek",
    "ru": "перестань направлять, перестань меня направлять, не направляй меня, не веди меня, выключи подсказки, "
    "выключите подсказки, отключи подсказки, перестань подсказывать, не подсказывай, без подсказок, "
    "хватит подсказок, больше никаких подсказок",
    "zh": "停止引导, 停止引導, 别引导了, 別引導了, 不要引导了, 不用引导了, 关闭引导, 關閉引導, 关闭提示, 關閉提示, 不要提示了, 别提示了, 不要再提示",
    "ja": "案内をやめて, 案内を止めて, 案内しないで, 誘導をやめて, 誘導を止めて, 誘導しないで, ガイドをやめて, ガイドを止めて, ガイドオフ, ガイド終了, ヒントはいらない, ヒントをやめて",
    "ko": "안내 중지, 안내 그만, 안내 그만해, 안내를 멈춰, 안내 꺼, 안내를 꺼, 안내하지 마, 힌트 꺼, 힌트 그만, 가이드 꺼",
    "tr": "yönlendirmeyi bırak, yönlendirmeyi durdur, yönlendirmeyi kapat, beni yönlendirme, artık yönlendirme, "
    "ipuçlarını kapat, ipucu verme, ipucu istemiyorum",
    "uk": "перестань спрямовувати, перестань мене спрямовувати, не спрямовуй мене, не веди мене, вимкни підказки, "
    "вимкніть підказки, перестань підказувати, не підказуй, без підказок, досить підказок, більше ніяких підказок",
    "ar": "توقف عن التوجيه, توقف عن توجيهي, لا توجهني, لا ترشدني, أوقف التوجيه, أوقف الإرشادات, أوقف التلميحات, "
    "بدون تلميحات, لا مزيد من التلميحات",
    "hi": "मार्गदर्शन बंद करो, मार्गदर्शन बंद कीजिए, मार्गदर्शन रोको, मार्गदर्शन मत करो, संकेत बंद करो, संकेत मत दो, "
    "और संकेत नहीं, गाइड बंद करो, गाइड करना बंद करो",
}
SHORTER_WORDS: dict[str, str] = {
    "en": "shorter answers, give shorter answers, answer shorter, answer more briefly, make your answers shorter, "
    "make the answers shorter",
    "de": "kürzere antworten, gib kürzere antworten, antworte kürzer, antworten sie kürzer, kürzer antworten, "
    "mach die antworten kürzer, fass dich kürzer",
    "fr": "réponses plus courtes, des réponses plus courtes, fais des réponses plus courtes, réponds plus court, "
    "réponds plus brièvement, répondez plus brièvement",
    "es": "respuestas más cortas, respuestas más breves, responde más corto, responde más breve, responda más breve, "
    "contesta más corto, contesta más breve",
    "it": "risposte più brevi, risposte più corte, rispondi più breve, rispondi più brevemente, risponda più brevemente",
    "pt": "respostas mais curtas, respostas mais breves, responde mais curto, responda mais curto, "
    "responde mais breve, responda mais breve",
    "nl": "kortere antwoorden, geef kortere antwoorden, antwoord korter, korter antwoorden, maak de antwoorden korter",
    "pl": "krótsze odpowiedzi, dawaj krótsze odpowiedzi, odpowiadaj krócej, mów krócej",
    "ru": "ответы короче, отвечай короче, короче отвечай, отвечайте короче, более короткие ответы",
    "zh": "回答短一点, 回答短一點, 回答短一些, 回答简短一点, 回答簡短一點, 回答简短些, 更短的回答",
    "ja": "短く答えて, もっと短く答えて, 短めに答えて, 答えを短く, 答えを短くして, 回答を短く, 回答を短くして",
    "ko": "짧게 대답해, 더 짧게 대답해, 짧게 답해, 더 짧게 답해, 답변을 짧게, 답변을 더 짧게, 대답을 더 짧게, 더 짧은 답변",
    "tr": "daha kısa cevaplar, daha kısa yanıtlar, daha kısa cevap ver, daha kısa yanıt ver, cevapları kısalt, "
    "yanıtları kısalt",
    "uk": "коротші відповіді, відповіді коротше, відповідай коротше, відповідайте коротше",
    "ar": "إجابات أقصر, أجوبة أقصر, اجعل الإجابات أقصر, اختصر الإجابات, أجب باختصار أكثر",
    "hi": "छोटे जवाब, छोटे जवाब दो, और छोटे जवाब, जवाब छोटे करो, जवाब छोटा करो, छोटे उत्तर दो",
}
LONGER_WORDS: dict[str, str] = {
    "en": "longer answers, give longer answers, answer longer, answer at more length, make your answers longer, "
    "make the answers longer, more detailed answers, give more detailed answers",
    "de": "längere antworten, gib längere antworten, antworte länger, antworten sie länger, länger antworten, "
    "mach die antworten länger, ausführlichere antworten, antworte ausführlicher, ausführlicher antworten",
    "fr": "réponses plus longues, des réponses plus longues, fais des réponses plus longues, réponds plus longuement, "
    "répondez plus longuement, réponses plus détaillées, des réponses plus détaillées",
    "es": "respuestas más largas, responde más largo, responda más largo, contesta más largo, respuestas más detalladas",
    "it": "risposte più lunghe, rispondi più a lungo, risponda più a lungo, risposte più dettagliate",
    "pt": "respostas mais longas, respostas mais compridas, responde mais longo, responda mais longo, "
    "respostas mais detalhadas",
    "nl": "langere antwoorden, geef langere antwoorden, antwoord langer, langer antwoorden, maak de antwoorden langer, "
    "uitgebreidere antwoorden, antwoord uitgebreider",
    "pl": "dłuższe odpowiedzi, dawaj dłuższe odpowiedzi, odpowiadaj dłużej, odpowiadaj obszerniej, "
    "bardziej szczegółowe odpowiedzi",
    "ru": "ответы длиннее, отвечай длиннее, длиннее отвечай, отвечайте длиннее, более длинные ответы, "
    "отвечай подробнее, отвечайте подробнее, более подробные ответы",
    "zh": "回答长一点, 回答長一點, 回答长一些, 回答長一些, 更长的回答, 更長的回答, 回答详细一点, 回答詳細一點, 回答详细一些",
    "ja": "長く答えて, もっと長く答えて, 長めに答えて, 答えを長く, 答えを長くして, 回答を長く, 回答を長くして",
    "ko": "길게 대답해, 더 길게 대답해, 길게 답해, 더 길게 답해, 답변을 길게, 답변을 더 길게, 대답을 더 길게, 더 긴 답변",
    "tr": "daha uzun cevaplar, daha uzun yanıtlar, daha uzun cevap ver, daha uzun yanıt ver, cevapları uzat, "
    "yanıtları uzat",
    "uk": "довші відповіді, відповіді довше, відповідай довше, відповідайте довше, докладніші відповіді, "
    "відповідай докладніше, відповідайте докладніше",
    "ar": "إجابات أطول, أجوبة أطول, اجعل الإجابات أطول, إجابات أكثر تفصيلا",
    "hi": "लंबे जवाब, लंबे जवाब दो, लम्बे जवाब दो, और लंबे जवाब, जवाब लंबे करो, जवाब लंबा करो, लंबे उत्तर दो",
}
CAMERA_OFF_WORDS: dict[str, str] = {
    "en": "camera off, turn off the camera, turn the camera off, turn off my camera, turn my camera off, "
    "switch off the camera, switch the camera off, shut off the camera, stop the camera",
    "de": "kamera aus, kamera ausschalten, die kamera ausschalten, schalte die kamera aus, schalt die kamera aus, "
    "schalten sie die kamera aus, mach die kamera aus, kamera abschalten, schalte die kamera ab",
    "fr": "coupe la caméra, coupez la caméra, couper la caméra, éteins la caméra, éteignez la caméra, "
    "éteindre la caméra, arrête la caméra, arrêtez la caméra, désactive la caméra",
    "es": "apaga la cámara, apague la cámara, apagar la cámara, apagar cámara, desactiva la cámara, "
    "desconecta la cámara",
    "it": "spegni fotocamera, spegni la fotocamera, spenga la fotocamera, spegnere la fotocamera, "
    "spegni la telecamera, spegni la videocamera, disattiva la fotocamera",
    "pt": "desligar câmera, desliga a câmera, desligue a câmera, desligar a câmera, desliga a câmara, "
    "desligue a câmara, desligar a câmara, desativa a câmera, desative a câmera",
    "nl": "camera uit, zet de camera uit, doe de camera uit, schakel de camera uit, camera uitzetten, "
    "de camera uitzetten, camera uitschakelen, de camera uitschakelen",
    "pl": "wyłącz kamerę, wyłączyć kamerę, wyłącz aparat",
    "ru": "выключи камеру, выключите камеру, выключить камеру, отключи камеру, отключите камеру, отключить камеру",
    "zh": "关闭摄像头, 關閉攝像頭, 关掉摄像头, 關掉攝像頭, 把摄像头关掉, 关闭相机, 關閉相機, 关掉相机, 關掉相機, 关闭镜头, 關閉鏡頭, 關掉鏡頭",
    "ja": "カメラをオフ, カメラをオフにして, カメラオフ, カメラを切って, カメラを消して, カメラを止めて, カメラを停止, カメラを停止して",
    "ko": "카메라 끄기, 카메라 꺼, 카메라를 꺼, 카메라 끄세요, 카메라를 끄세요",
    "tr": "kamerayı kapat, kamerayı kapatın, kamerayı durdur",
    "uk": "вимкни камеру, вимкніть камеру, вимкнути камеру, відключи камеру, відключіть камеру",
    "ar": "إيقاف الكاميرا, أوقف الكاميرا, أطفئ الكاميرا, إطفاء الكاميرا, أغلق الكاميرا, إغلاق الكاميرا",
    "hi": "कैमरा बंद करें, कैमरा बंद करो, कैमरा बंद कीजिए, कैमरा बंद कर दो, कैमरे को बंद करो",
}
SCAN_WORDS: dict[str, str] = {
    "en": "what is around me, what's around me, what is around us, what is all around me, what surrounds me, look around, "
    "look all around, look around me, scan, scan the room, scan around me, scan my surroundings, start a scan",
    "de": "was ist um mich herum, was ist um mich, was ist rund um mich, was umgibt mich, was gibt es um mich herum, "
    "schau dich um, sieh dich um, umsehen, umschauen, scanne den raum, scanne meine umgebung, rundumblick",
    "fr": "qu'y a-t-il autour de moi, qu'est-ce qu'il y a autour de moi, que vois-tu autour de moi, "
    "regarde autour, regarde autour de moi, regardez autour de moi, balaye la pièce, scanne la pièce, tour d'horizon",
    "es": "qué hay a mi alrededor, qué hay alrededor, qué hay alrededor de mí, qué me rodea, mira alrededor, "
    "mira a mi alrededor, escanea la habitación, escanea el entorno",
    "it": "cosa c'è intorno a me, che cosa c'è intorno a me, cosa c'è attorno a me, cosa mi circonda, guardati intorno, "
    "guarda intorno, guarda intorno a me, scansiona la stanza",
    "pt": "o que há à minha volta, o que está à minha volta, o que há ao meu redor, o que está ao meu redor, "
    "o que me rodeia, olha à volta, olhe ao redor, olha em volta, faz uma varredura, faça uma varredura",
    "nl": "wat is er om me heen, wat is er om mij heen, wat staat er om me heen, wat is er rondom mij, kijk rond, "
    "kijk om je heen, kijk om me heen, scan de kamer, scan mijn omgeving",
    "pl": "co jest wokół mnie, co jest dookoła mnie, co mnie otacza, rozejrzyj się, popatrz dookoła, rozejrzyj się dookoła, "
    "przeskanuj pokój, przeskanuj otoczenie",
    "ru": "что вокруг меня, что находится вокруг меня, что есть вокруг меня, что меня окружает, осмотрись, оглядись, "
    "посмотри вокруг, осмотри комнату, просканируй комнату",
    "zh": "我周围有什么, 我周圍有什麼, 我身边有什么, 我身邊有什麼, 周围有什么, 周圍有什麼, 看看周围, 看看周圍, 环顾四周, 環顧四周, "
    "扫描周围, 掃描周圍, 扫描房间, 掃描房間",
    "ja": "周りに何がある, 周りに何がありますか, 私の周りに何がある, 私の周りに何がありますか, まわりに何がある, 周りを見て, "
    "周囲を見て, 見回して, 周囲をスキャンして, 部屋をスキャンして",
    "ko": "내 주위에 뭐가 있어, 내 주변에 뭐가 있어, 주위에 뭐가 있어, 주변에 뭐가 있어, 주변에 무엇이 있나요, 주위를 둘러봐, "
    "주변을 둘러봐, 둘러봐, 주변을 스캔해, 방을 스캔해",
    "tr": "etrafımda ne var, etrafımda neler var, çevremde ne var, çevremde neler var, etrafa bak, etrafıma bak, "
    "çevreye bak, odayı tara, çevremi tara",
    "uk": "що навколо мене, що є навколо мене, що знаходиться навколо мене, що мене оточує, озирнися, роздивися навколо, "
    "подивися навколо, оглянь кімнату, проскануй кімнату",
    "ar": "ماذا يوجد حولي, ماذا حولي, ما الذي حولي, ما الموجود حولي, ماذا يحيط بي, ما الذي يحيط بي, انظر حولي, انظر حولك, "
    "امسح الغرفة, امسح المكان",
    "hi": "मेरे आसपास क्या है, मेरे चारों ओर क्या है, मेरे चारों तरफ क्या है, मेरे इर्द गिर्द क्या है, आसपास देखो, "
    "चारों ओर देखो, चारों तरफ देखो, कमरा स्कैन करो",
}
