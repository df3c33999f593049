# deb822 source stanzas -> one-line deb-src entries for the distribution `codename`.
function flush_stanza(   s, count, suite) {
    count = split(suites, suite, " ")
    for (s = 1; s <= count; s++)
        if (types ~ /deb/ && index(suite[s], codename) == 1)
            print "deb-src" (key ? " [signed-by=" key "]" : "") " " uri " " suite[s] " " components
    types = uri = suites = components = key = ""
}
FNR == 1 { flush_stanza() }
/^Types:/ { types = $2 }
/^URIs:/ { uri = $2 }
/^Suites:/ { $1 = ""; suites = $0 }
/^Components:/ { sub(/^Components: */, ""); components = $0 }
/^Signed-By:/ { key = $2 }
/^$/ { flush_stanza() }
END { flush_stanza() }
