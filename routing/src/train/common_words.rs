//! Words that are common in a language: written down, not counted. They tell languages apart of
//! which there is little to learn from.

pub const COMMON: [(&str, &str); 32] = [
    (
        "en",
        "the of and to in is that it for was on are with as his they be at this have from or one had by but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first been call who its now find long down day did get come made may part over new sound take only little work know place year live me back give most very after thing our just name good sentence man think say great where help through much before line right too mean old any same tell boy follow came want show also around form three small set put end does another well large must big even such because turn here why ask went men read need land different home us move try kind hand picture again change off play hello hi hey thanks thank please yes ok okay sorry bye morning evening test ping continue",
    ),
    (
        "es",
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué sólo han yo hay vez puede todos así nos ni parte tiene él uno donde bien tiempo mismo ese ahora cada e vida otro después te otros aunque esa eso hace otra gobierno tan durante siempre día tanto ella tres sí dijo sido gran país según menos mundo año antes estado contra sino forma caso nada hacer general estaba poco estos presidente mayor ante unos les algo hacia casa ellos ayer hecho primera mucho mientras además quien momento hola gracias buenos días buenas tardes adiós favor",
    ),
    (
        "fr",
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ou son aux d l s n c être cette ses mais comme on tout nous sa fait été aussi leur bien peut ces y deux sans très même dont si leurs elle entre encore ont depuis après où faire ils vous je avait était lui faut quand contre moins toujours avant sous entre trois ans autres donc temps tous peu jour notre votre mon quelques quel aucun chez alors jamais vers rien monde pendant puis car homme vie année pays parce celui cela ça soit bonjour salut merci bonsoir oui merci revoir",
    ),
    (
        "de",
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein wurde sei hatte kann gegen vom können schon wenn habe seine ihre dann unter wir soll ich eines jahr zwei jahren diese dieser wieder keine uhr seiner worden will zwischen immer millionen was sagte gibt alle seit muss wurden beim doch jetzt waren drei jahre neue damit bereits da ihr seinen müssen ab ihrer ohne sondern selbst ersten nun etwa heute weil ihm menschen deutschland nichts viel mich mir hallo guten tag morgen abend danke bitte ja nein tschüss",
    ),
    (
        "pt",
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem nas me esse eles estão você tinha foram essa num nem suas meu às minha têm numa pelos elas havia seja qual será nós tenho lhe deles essas esses pelas este fosse dele ainda anos sobre são então vai pode assim ano dia fazer todos onde bem tudo agora coisa porque cada governo outro outra tempo durante vez contra estado maior parte dois três mundo nosso após segundo não são ação olá obrigado obrigada bom dia boa tarde tchau",
    ),
    (
        "it",
        "di che e la il un a è per in una sono mi ho non si ma lo ti ha le con cosa i no da se come ci qui questo bene tu sì del al gli della più anche nel dei su solo era nella io alla mio essere quando perché fatto hai delle dal suo tutto stato loro ancora prima dopo sua o cui dove molto due anni così già poi fare stata degli alle hanno questa sul nei dalla tra tutti quello senza chi oggi sempre ogni parte tempo altri nelle ai anno mondo può ed ad sia c'è mai ore lui lei noi vi deve contro secondo proprio però giorno casa nostro uno fra sulla stesso ciao grazie buongiorno buonasera prego sì arrivederci",
    ),
    (
        "nl",
        "de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er maar om hem dan zou of wat mijn men dit zo door over ze zich bij ook tot je mij uit der daar haar naar heb hoe heeft hebben deze u want nog zal me zij nu ge geen omdat iets worden toch al waren veel meer doen toen moet ben zonder kan hun dus alles onder ja eens hier wie werd altijd doch wordt wezen kunnen ons zelf tegen na reeds wil kon niets uw iemand geweest andere jaar tussen twee eerste mensen goed onze zoals gaan weer tijd deze bent jij wij ben nieuwe grote sinds volgens vooral hallo hoi dank je goedemorgen alsjeblieft ja nee doei",
    ),
    (
        "pl",
        "i w na z do się nie że o to jest jak a po za od co przez tak ale już tym czy dla są był tylko było może które jego ich lub być przy która który bardzo pod te jeszcze gdy by ja mnie mi ma go tego ten ze sobie kiedy nad więc także jednak oraz lat roku nas tej gdzie można między również bez we tych jej była nawet im czas wszystko będzie ponieważ wszystkich dlatego teraz osób latach kto żeby jako dwa trzeba tam pan dzień mam przed u bo nic swoje musi takie którzy podczas został została mają swój ludzi polski każdy więcej cześć dziękuję dzień dobry proszę tak",
    ),
    (
        "tr",
        "ve bir bu da de için ile çok ne daha gibi olarak ben sen o mi var kadar ama en olan değil sonra her ya ki diye şey zaman ise onun yok olduğu bana ilk iki iyi büyük yeni kendi şu biz siz onlar göre önce tarafından içinde olduğunu türkiye bunu ancak hem nasıl neden arasında üzerinde hiç bütün aynı yıl gün oldu ettiği eden edildi olan olacak etti dedi tek bile başka insan devam şekilde kişi yapılan sadece vardı artık veya böyle birlikte edilen dünya şimdi biri hangi yer nin nın ın in un ün merhaba selam teşekkürler günaydın evet hayır lütfen",
    ),
    (
        "vi",
        "của và là có được cho trong không một các với người những đã này khi để đến ra về cũng tôi như từ vào nhiều năm thì sẽ trên tại mà ở đó sau bị còn hơn nhưng lại theo việc làm nói phải đi chỉ rất nước hay anh ông bà chúng ta họ bạn nếu thể đang ngày hai biết qua vì nhà sự trước lên mình nào nhất đầu cả thấy gì nên con thời đều mới cùng giữa điều bằng xuống thế bởi em chị đây lúc vẫn do vậy công thành xin chào cảm ơn vâng tạm biệt",
    ),
    (
        "id",
        "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka lebih kata tahun sudah atau saat oleh menjadi orang ia telah adalah seperti sebagai bahwa dapat para harus namun kita dua satu masih hari hanya mengatakan kepada kami setelah melakukan lalu belum lain dia kalau terjadi banyak menurut anda hingga tak baru beberapa ketika saja jalan sekitar secara dilakukan sementara tapi sangat hal sehingga seorang bagi besar lagi selama antara waktu sebuah jika sampai jadi terhadap tiga serta pun salah merupakan atas sejak membuat baik memiliki kembali selain tetapi pertama kedua memang pernah apa mulai sama tentang bukan agar semua sedang kali kemudian hasil sejumlah juta persen sendiri katanya demikian masalah mungkin umum setiap bulan bagian bila lainnya terus luar cukup termasuk sebelumnya bahkan wib tempat perlu menggunakan halo hai terima kasih selamat pagi",
    ),
    (
        "sv",
        "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan man när år säger hon under också efter eller nu sin där vid mot ska skulle kommer ut får finns vara hade alla andra mycket än här då sedan över bara in blir upp även vad få två vill ha många hur mer går sverige kronor detta nya procent skall hans utan sina något svenska allt första fick måste mellan blev bli dag någon några sitt stora varit dess del eftersom enligt inom tre ser mig era oss dem henne honom mitt ditt ju kunde ännu hej tack god morgon ja nej snälla",
    ),
    (
        "da",
        "og i at det er en til af på for med den de som der har ikke et jeg om var han fra men vi kan ved så sig havde skal eller ud over hun efter også nu når hvor være mere hvad op kun ind blev blive bliver man ham end andre meget år du siger mod kommer under været alle mellem to selv to hvis mange anden går noget denne dette disse deres dem sin sit sine vil ville kunne skulle får fik gør gøre jo lige af nej godt tid dag år nogle efter danske danmark uden hvordan hele ligger inden bruge først tror os hendes hej tak godmorgen ja nej",
    ),
    (
        "nb",
        "og i det er på en som til for av at med har de ikke den om var et han fra men vi seg jeg så kan hun ved der år etter eller ut blir også skal opp da være når sin hadde over nå man mot ble her hvor alle mange mer andre sier må inn få hva bare enn norge mellom under noe to sitt vil ville kunne skulle får fikk gjør gjøre gjorde noen blitt vært dette disse deres dem hans hennes oss meg deg dere denne selv fordi hvis siden før uten mye siste kroner prosent norske norsk første både hele del kommer tid dag uke stor store ligger ja nei ikkje også fram opp nye sammen går står hei takk god morgen ja nei",
    ),
    (
        "cs",
        "a se v na je že o s z do i to k ve pro za by ale si po jako podle od jsem tak jeho které který jsou nebo byl až už jen co při jak být bylo také roku která byla před než však ještě mezi však má své let může kde když lidí dnes není jejich pod více ze ho aby nad korun tím tom tedy proto jejich bude kteří již pak jeden mu jí protože další v tomto vše celé velmi dva první tři všech během pouze něco někdo proti nové mít ji li vám nás vás mi mě ty tento tato toho tomu ahoj děkuji dobrý den prosím ano",
    ),
    (
        "ro",
        "și de a în la cu pe din care nu o că să un mai pentru este se au fost sunt ce ca prin sau după dar cel lui am al până fi ale dintre când avea este acest aceasta această o ani fără cum doar această va acum numai foarte fie era între sa său toate dacă deci iar nici două asta unui unei îi le lor ei el ea noi voi tot aceste acestui cele cei dintr într-un într despre astfel peste spre avem are ar putea poate trebuie face făcut am spus anul anii România românia timp bine unde cât celor cărui bună salut mulțumesc ziua da",
    ),
    (
        "fi",
        "ja on ei oli että se en hän joka mutta ovat myös kun niin kuin vain sen ole jos mitä hänen tai nyt mukaan ollut ennen jo minä sitä olla vielä olen ne tämä sekä siitä näin voi jälkeen kanssa noin kaikki sitten ettei vuoden koska olisi eli asti asia tässä saa itse minun hyvin sinä vuonna suomen suomessa paljon uusi oikein vuotta mikä kuitenkin välillä aikana jonka jotka yksi kaksi toinen siis meillä sillä pitää tulee olivat ihan kuten ilman esimerkiksi tänään enää te me he ettei hyvä mukaan tästä tätä niitä joita hei moi terve kiitos huomenta kyllä",
    ),
    (
        "hu",
        "a az és hogy nem is egy ez meg volt van csak de már még mint ha vagy el azt ki fel le be én te ő mi ti ők volna lesz most minden ezt majd után akkor itt ott úgy így mert pedig nagyon szerint aki ami amely lehet kell több között sem sok olyan először azonban magyar maga két ilyen vele jó utolsó alatt miatt ezért nagy új ember év évben során által illetve valamint ahol amikor tudom vannak voltak neki nekem kellene lett lenne hanem egyik másik mindig ezek azok ezen azon szia helló köszönöm jó napot igen",
    ),
    (
        "ca",
        "de la i el a que en l les d per els un amb una al és del no s dels va es més com han ha o seva aquest també pel però seu tot són sobre fins quan hi entre aquesta ser fa anys ja molt barcelona catalunya després sense altres dos on això pot tenir segons havia durant era part perquè així ara dins van seus fer cada qui primera ahir catalana gran nou des tots cap estat ell sempre any ni ens només seves altre he encara mateix hola gràcies bon dia adéu sisplau",
    ),
    (
        "hr",
        "je i u se na da su za od što koji s a o ne bi kao iz ali to koja će ili nije samo još kako sve prema koje bio ima biti godine nakon po te kod sam zbog do može više već ako bila ga toga dana hrvatske hrvatska hrvatskoj vrijeme gdje kada pri ovaj ova ovo tko nisu tijekom mogu trebao uvijek također njegov smo ste između oko prije jedan dva sada tako tome mu jer prvi protiv kuna svi ljudi posto rekao kazao bez pod bok hvala dobar dan molim da",
    ),
    (
        "sk",
        "a v sa na je že o s z do aj to k vo pre za by ale si po ako podľa od som tak jeho ktoré ktorý sú alebo bol až už len čo pri byť bolo tiež roku ktorá bola pred než však ešte medzi má svoje rokov môže kde keď ľudí dnes nie ich pod viac zo ho aby nad korún eur tým tom teda preto bude ktorí pretože ďalší slovensko slovenska veľmi dva prvý tri všetkých počas iba niečo niekto proti nové mať ju vám nás vás mi ma tento táto toho tomu ahoj ďakujem dobrý deň prosím áno",
    ),
    (
        "tl",
        "ang ng sa na mga at ay ni si ko para hindi ito may siya niya kung ka mo ako nang pa din rin isang lang naman nila ba po kaya kanyang dahil wala pero kami tayo sila namin natin atin kanila kanya iyon dito doon saan ano sino bakit paano kapag habang upang tulad bilang ayon sinabi pag nag mag nasa mula hanggang lamang muli bago pilipinas tao araw taon panahon noong ngayon maging kay nina sina yung daw raw kumusta salamat magandang umaga oo",
    ),
    (
        "sw",
        "ya na wa kwa ni katika la za kuwa hiyo hii huo huyo yake wake alisema ambao ambayo ambaye cha vya kama hata pia lakini au si mimi wewe yeye sisi nyinyi wao kila sana tu baada kabla hivyo bila kati wakati watu mtu nchi serikali rais mwaka siku mambo kazi shule habari sasa leo kesho jana ndiyo hapana bado zaidi pamoja kuhusu kutoka mpaka hadi alikuwa walikuwa ana wana amekuwa wamekuwa kufanya tanzania kenya habari jambo asante karibu ndiyo",
    ),
    (
        "ru",
        "и в не на я быть он с что а по это она этот к но они мы весь который из у свой вы от так за для же до все или если его как был бы только уже когда ещё еще даже ну вот их была было были есть при может также чем через после где года году сейчас себя них очень можно без под тем этого того нет чтобы да ее её между потому мне меня себе первый два три том лет время сказал больше человек россии который которые привет здравствуйте спасибо пожалуйста доброе утро",
    ),
    (
        "uk",
        "і в не на я бути він з що а по це вона цей до але вони ми весь який із у свій ви від так за для ж та й його як був би тільки вже коли ще навіть ну ось їх була було були є при може також ніж через після де року році зараз себе них дуже можна без під тим цього того немає щоб її між тому мені мене собі перший два три років час сказав більше людина україни які яка україні україна щодо або якщо привіт дякую добрий день будь ласка",
    ),
    (
        "bg",
        "и в не на аз да той с че а по това тя този към но те ние който от у свой вие така за или ако го го как беше само вече когато още дори ето ги са при може също след където година сега себе си тях много без под тоз този тази тези няма между защото ми ме един два три години време каза повече човек българия които която което ще бъде било били съм сме има трябва със във им ѝ му се здравей здравейте благодаря добро утро",
    ),
    (
        "sr",
        "и у не на ја да он са што а по то она овај ка али они ми који из код свој ви од тако за или ако га како био само већ када још чак ево их је су била било били при може такође након где године сада себе веома без под тим овог тог нема између јер мени мене један два три година време рекао више човек србије која које ће бити сам смо има треба се му ће здраво хвала добар дан молим",
    ),
    (
        "ar",
        "في من على أن إلى التي عن لا ما هذا هذه مع الذي كان كل ذلك بعد قد لم بين أو هو هي كما حيث منذ خلال قبل عند ثم أي غير قال لكن إن كانت يكون أكثر حتى بن عام اليوم يوم حول نحو أحد أنه أنها ولا وقد وفي وقال وكان إذا ليس تم الله له لها به بها فيها فيه عليه عليها ضد أمس وهو وهي الى ان اي هناك نحن أنا أنت كانوا العالم",
    ),
    (
        "fa",
        "و در به از که این را با است برای آن یک خود تا کرد بر هم نیز گفت می شود شد او ما اما یا های ها شده باید هر آنها بود اگر دو نه من همه کند دارد بین پس پیش سال روز بی چه چون کار کنید بیش شما دیگر وی اند بعد مورد ای هستند نیست کرده داد گفته کشور ایران همین یکی کنند می‌شود می‌کند نمی توان مردم سپس چند وقتی هیچ",
    ),
    (
        "ur",
        "کے میں کی ہے اور سے کا کو اس کہ پر نے ہیں ایک یہ کیا نہیں بھی جو گیا ہو وہ تھا کر ان تک ہی ساتھ لیے لئے تو تھے تھی اپنے گئے کہا بعد جا رہا رہے رہی ہوں ہوئے ہوا جس یا کوئی کچھ سب جب اپنی آپ ہم میرے مجھے پاکستان کرنے کرتے دو بہت والے دیا گئی ہوتا ہوتی چاہیے لوگ طرح وقت انہوں",
    ),
    (
        "hi",
        "के में की है और से का को इस कि पर ने हैं एक यह किया नहीं भी जो गया हो वह था कर उन तक ही साथ लिए तो थे थी अपने गए कहा बाद जा रहा रहे रही हूँ हुए हुआ जिस या कोई कुछ सब जब अपनी आप हम मेरे मुझे भारत करने करते दो बहुत वाले दिया गई होता होती चाहिए लोग तरह समय उन्होंने उस उनके इसके अब क्या",
    ),
    (
        "mr",
        "आणि आहे या व तो ती ते हे ही हा की मध्ये नाही होते होता होती आहेत साठी येथे झाला झाली झाले करून केले केली केला म्हणून पण एक त्या त्यांनी त्यांच्या त्याच्या आपल्या अशा असे असा अशी मी तू तुम्ही आम्ही काय कसे कोण कुठे जर तर मला तुला त्याला तिला सर्व काही फक्त पासून पर्यंत नंतर आता म्हणाले मराठी महाराष्ट्र लोक दिवस वर्ष खूप",
    ),
];
