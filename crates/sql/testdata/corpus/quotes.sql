SELECT 'a''b', "c""d", E'\'', U&'\0061', U&"d!0061t!+000061" UESCAPE '!', $$x$$, $t$ $$ $t$, B'01', X'ff', N'x', 'a'
'b' FROM t -- '
