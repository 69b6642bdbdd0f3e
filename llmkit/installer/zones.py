"""Time zones: does a name exist (the tz database's areas and places, 2025), and what is near it."""

from __future__ import annotations

import difflib

_AREAS = {
    "Africa": "Abidjan Accra Addis_Ababa Algiers Asmara Bamako Bangui Banjul Bissau Blantyre"
    " Brazzaville Bujumbura Cairo Casablanca Ceuta Conakry Dakar Dar_es_Salaam Djibouti Douala"
    " El_Aaiun Freetown Gaborone Harare Johannesburg Juba Kampala Khartoum Kigali Kinshasa Lagos"
    " Libreville Lome Luanda Lubumbashi Lusaka Malabo Maputo Maseru Mbabane Mogadishu Monrovia"
    " Nairobi Ndjamena Niamey Nouakchott Ouagadougou Porto-Novo Sao_Tome Tripoli Tunis Windhoek",
    "America": "Adak Anchorage Anguilla Antigua Araguaina Argentina/Buenos_Aires"
    " Argentina/Catamarca Argentina/Cordoba Argentina/Jujuy Argentina/La_Rioja Argentina/Mendoza"
    " Argentina/Rio_Gallegos Argentina/Salta Argentina/San_Juan Argentina/San_Luis"
    " Argentina/Tucuman Argentina/Ushuaia Aruba Asuncion Atikokan Bahia Bahia_Banderas Barbados"
    " Belem Belize Blanc-Sablon Boa_Vista Bogota Boise Buenos_Aires Cambridge_Bay Campo_Grande"
    " Cancun Caracas Cayenne Cayman Chicago Chihuahua Ciudad_Juarez Costa_Rica Coyhaique Creston"
    " Cuiaba Curacao Danmarkshavn Dawson Dawson_Creek Denver Detroit Dominica Edmonton Eirunepe"
    " El_Salvador Fort_Nelson Fortaleza Glace_Bay Goose_Bay Grand_Turk Grenada Guadeloupe Guatemala"
    " Guayaquil Guyana Halifax Havana Hermosillo Indiana/Indianapolis Indiana/Knox Indiana/Marengo"
    " Indiana/Petersburg Indiana/Tell_City Indiana/Vevay Indiana/Vincennes Indiana/Winamac"
    " Indianapolis Inuvik Iqaluit Jamaica Juneau Kentucky/Louisville Kentucky/Monticello"
    " Kralendijk La_Paz Lima Los_Angeles Louisville Lower_Princes Maceio Managua Manaus Marigot"
    " Martinique Matamoros Mazatlan Menominee Merida Metlakatla Mexico_City Miquelon Moncton"
    " Monterrey Montevideo Montreal Montserrat Nassau New_York Nome Noronha North_Dakota/Beulah"
    " North_Dakota/Center North_Dakota/New_Salem Nuuk Godthab Ojinaga Panama Paramaribo Phoenix"
    " Port-au-Prince Port_of_Spain Porto_Velho Puerto_Rico Punta_Arenas Rankin_Inlet Recife Regina"
    " Resolute Rio_Branco Santarem Santiago Santo_Domingo Sao_Paulo Scoresbysund Sitka"
    " St_Barthelemy St_Johns St_Kitts St_Lucia St_Thomas St_Vincent Swift_Current Tegucigalpa Thule"
    " Tijuana Toronto Tortola Vancouver Whitehorse Winnipeg Yakutat Yellowknife Thunder_Bay"
    " Nipigon",
    "Antarctica": "Casey Davis DumontDUrville Macquarie Mawson McMurdo Palmer Rothera Syowa Troll"
    " Vostok",
    "Arctic": "Longyearbyen",
    "Asia": "Aden Almaty Amman Anadyr Aqtau Aqtobe Ashgabat Atyrau Baghdad Bahrain Baku Bangkok"
    " Barnaul Beirut Bishkek Brunei Calcutta Chita Choibalsan Chongqing Colombo Damascus Dhaka Dili"
    " Dubai Dushanbe Famagusta Gaza Hebron Ho_Chi_Minh Saigon Hong_Kong Hovd Irkutsk Istanbul"
    " Jakarta Jayapura Jerusalem Kabul Kamchatka Karachi Kathmandu Katmandu Khandyga Kolkata"
    " Krasnoyarsk Kuala_Lumpur Kuching Kuwait Macau Magadan Makassar Manila Muscat Nicosia"
    " Novokuznetsk Novosibirsk Omsk Oral Phnom_Penh Pontianak Pyongyang Qatar Qostanay Qyzylorda"
    " Rangoon Riyadh Sakhalin Samarkand Seoul Shanghai Singapore Srednekolymsk Taipei Tashkent"
    " Tbilisi Tehran Tel_Aviv Thimphu Tokyo Tomsk Ulaanbaatar Urumqi Ust-Nera Vientiane Vladivostok"
    " Yakutsk Yangon Yekaterinburg Yerevan",
    "Atlantic": "Azores Bermuda Canary Cape_Verde Faroe Madeira Reykjavik South_Georgia St_Helena"
    " Stanley",
    "Australia": "Adelaide Brisbane Broken_Hill Canberra Darwin Eucla Hobart Lindeman Lord_Howe"
    " Melbourne Perth Sydney ACT NSW North Queensland South Tasmania Victoria West",
    "Europe": "Amsterdam Andorra Astrakhan Athens Belfast Belgrade Berlin Bratislava Brussels"
    " Bucharest Budapest Busingen Chisinau Copenhagen Dublin Gibraltar Guernsey Helsinki"
    " Isle_of_Man Istanbul Jersey Kaliningrad Kiev Kirov Kyiv Lisbon Ljubljana London Luxembourg"
    " Madrid Malta Mariehamn Minsk Monaco Moscow Nicosia Oslo Paris Podgorica Prague Riga Rome"
    " Samara San_Marino Sarajevo Saratov Simferopol Skopje Sofia Stockholm Tallinn Tirane Ulyanovsk"
    " Uzhgorod Vaduz Vatican Vienna Vilnius Volgograd Warsaw Zagreb Zaporozhye Zurich",
    "Indian": "Antananarivo Chagos Christmas Cocos Comoro Kerguelen Mahe Maldives Mauritius Mayotte"
    " Reunion",
    "Pacific": "Apia Auckland Bougainville Chatham Chuuk Easter Efate Fakaofo Fiji Funafuti"
    " Galapagos Gambier Guadalcanal Guam Honolulu Kanton Kiritimati Kosrae Kwajalein Majuro"
    " Marquesas Midway Nauru Niue Norfolk Noumea Pago_Pago Palau Pitcairn Pohnpei Port_Moresby"
    " Rarotonga Saipan Tahiti Tarawa Tongatapu Wake Wallis",
    "US": "Alaska Aleutian Arizona Central East-Indiana Eastern Hawaii Indiana-Starke Michigan"
    " Mountain Pacific Samoa",
    "Canada": "Atlantic Central Eastern Mountain Newfoundland Pacific Saskatchewan Yukon",
    "Brazil": "Acre DeNoronha East West",
    "Chile": "Continental EasterIsland",
    "Mexico": "BajaNorte BajaSur General",
}
_SINGLE = (
    "UTC GMT UCT Zulu Universal Greenwich CET CST6CDT EET EST EST5EDT HST MET MST MST7MDT PST8PDT"
    " PRC ROC ROK WET Cuba Egypt Eire GB GB-Eire Hongkong Iceland Iran Israel Jamaica Japan"
    " Kwajalein Libya NZ NZ-CHAT Navajo Poland Portugal Singapore Turkey W-SU Factory"
)
ZONES = frozenset(
    [f"{area}/{place}" for area, places in _AREAS.items() for place in places.split()]
    + _SINGLE.split()
    + [f"Etc/{name}" for name in ("UTC", "GMT", "UCT", "Zulu", "Universal", "Greenwich", "GMT0")]
    + [f"Etc/GMT{sign}{hours}" for sign in "+-" for hours in range(13)]
    + ["Etc/GMT-13", "Etc/GMT-14"]
)


def exists(name: str) -> bool:
    """Is this a zone of the tz database?"""
    return name in ZONES


def hint(name: str) -> str:
    """A hint for messages: " (did you mean Europe/Prague?)", or nothing."""
    near = difflib.get_close_matches(name, ZONES, 1, 0.75)
    return f" (did you mean {near[0]}?)" if near else ""
