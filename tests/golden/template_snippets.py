# SPDX-License-Identifier: MIT
"""Small templates, each for one rule of the language; make_template.py runs them through jinja2.
Those that jinja2 refuses must be refused in C too."""

INPUTS = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>\na\n</think>\n\nHello", "tool_calls": None},
        {"role": "user", "content": "Bye", "meta": {"n": 2, "items": [1]}},
    ],
    "text": "  Mixed Case text, äöü ß İ Σας  ",
    "word": "hello",
    "empty": "",
    "uni": "héllo wörld 日本語 🙂",
    "lines": "one\ntwo\n\nthree\r\nfour\n",
    "quote": "it's \"q\" \\ \n\t\x01\u00a0\u200b",
    "html": "<b>&'\"</b>",
    "csv": "a,b,,c",
    "n": 7, "neg": -3, "zero": 0, "big": 9007199254740993, "pi": 3.14159, "half": 2.5, "tiny": 1e-7,
    "huge": 1e22, "whole": 4.0,
    "yes": True, "no": False, "nil": None,
    "nums": [3, 1, 2, 3], "strs": ["b", "A", "c", "a"], "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}],
    "obj": {"b": 1, "a": "x", "B": [1, 2], "items": "hidden", "ä": None},
    "nested": {"x": {"y": {"z": "deep"}}, "list": [{"n": 1}, {"n": 2, "o": {"p": 3}}]},
    "people": [{"name": "Ann", "age": 31, "tags": []}, {"name": "bob", "age": 25}, {"name": "Cid", "age": 31}],
    "none_list": [], "none_obj": {},
}

# Printing, literals, arithmetic.
VALUES = """
{{ 1 }}|{{ -1 }}|{{ +1 }}|{{ 1.0 }}|{{ 1.5e3 }}|{{ 1e16 }}|{{ 1e15 }}|{{ 0.0001 }}|{{ 0.00001 }}|{{ 1_000 }}|{{ 0x1F }}|{{ 0o17 }}|{{ 0b101 }}
{{ true }} {{ True }} {{ false }} {{ none }} {{ None }}
{{ n }} {{ neg }} {{ big }} {{ pi }} {{ half }} {{ tiny }} {{ huge }} {{ whole }} {{ yes }} {{ no }} {{ nil }}
{{ [] }} {{ {} }} {{ () }} {{ (1,) }} {{ (1, 2) }} {{ [1, 'a', none, true, 1.0] }} {{ {'a': 1, 2: 'b', none: [] } }}
{{ 1, 2 }}
{{ mixed }} {{ obj }} {{ nested }}
{{ [quote] }} {{ [html] }} {{ ["it's"] }} {{ ['"'] }} {{ [uni] }}
{{ 'a' 'b' "c" }} {{ 'it\\'s' }} {{ "\\n\\t\\\\ \\x41 \\u00e9 \\U0001f600 \\q \\101" }} {{ '\\a\\b\\f\\v' | length }}
{{ 7 + 3 }} {{ 7 - 3 }} {{ 7 * 3 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 1e308 * 10 }} {{ -1e308 * 10 }}
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 2 * 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 10 - 3 - 2 }} {{ 100 / 10 / 2 }} {{ 1 - -1 }}
{{ true + true }} {{ true * 3 }} {{ -true }} {{ +true }} {{ true / 2 }} {{ false == 0 }} {{ 1 == 1.0 }} {{ true == 1 }}
{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'ab' * -1 }} {{ [1] + [2] }} {{ [1, 2] * 2 }} {{ (1,) + (2,) }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1] }} {{ 'a' ~ 'b' * 2 }} {{ missing ~ 'x' }}
{{ 1 ~ 2 + 3 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ -'a' }}
{{ +'a' }}
{{ -none }}
{{ 'a' - 'b' }}
{{ {} + {} }}
{{ missing }}|{{ missing | length }}|{{ missing is defined }}|{{ not missing }}|{{ missing or 'd' }}|{{ missing ~ '' }}
{{ missing.x }}
{{ missing['x'] }}
{{ missing[0] }}
{{ missing + 1 }}
{{ 1 + missing }}
{{ -missing }}
{{ missing() }}
{{ missing < 1 }}
{{ missing == missing }} {{ missing == none }} {{ missing != 1 }} {{ 1 in missing }} {{ missing in [1] }} {{ [missing] }}
{{ obj.nope }}|{{ obj['nope'] }}|{{ obj.nope is defined }}|{{ obj.nope is undefined }}
{{ obj.nope.x }}
{{ obj.nope['x'] }}
{{ nums[10] }}|{{ nums[-10] }}|{{ word[99] }}|{{ nums['a'] }}|{{ n.x }}|{{ none.x }}|{{ nil['x'] }}
{{ nums[10].x }}
{{ n() }}
{{ 'x'() }}
{{ word.nope() }}
{{ 9223372036854775807 }}
{{ 12abc }}
{{ 1 2 }}
{{ }}
{{ a b }}
{{ 'open }}
{{ [1, 2 }}
{{ (1, 2] }}
{{ 1 + }}
{{ . }}
{{ @ }}
{{ [1, 2,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ [1,
2] }}
{{ nums.0 }} {{ nested.list.1.n }} {{ mixed.6.k }}
"""

# Comparison, logic, conditions.
LOGIC = """
{{ 1 < 2 }} {{ 1 <= 1 }} {{ 2 > 1 }} {{ 2 >= 3 }} {{ 1 != 2 }} {{ 1 == 2 }} {{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 2) }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 > 1 }} {{ 1 == 1 == 1 }} {{ 1 < 2 > 0 }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ [] < {} }}
{{ 1 == 'a' }} {{ none == none }} {{ none == false }} {{ [1] == [1.0] }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1} }} {{ {'a': 1} == {'a': 2} }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ 'a' == 'a' }} {{ '' == none }}
{{ true and false }} {{ true or false }} {{ not true }} {{ not not true }} {{ 1 and 2 }} {{ 0 or 'x' }} {{ '' and 1 }} {{ [] or {} }} {{ not 1 == 2 }} {{ not none }}
{{ true or missing.x }} {{ false and missing.x }}
{{ 1 and 0 or 3 }} {{ 1 or 0 and 3 }} {{ not false and true }} {{ not (false and true) }}
{{ 'a' in 'abc' }} {{ 'd' in 'abc' }} {{ '' in 'abc' }} {{ 1 in nums }} {{ 9 in nums }} {{ 'a' in obj }} {{ 'z' in obj }} {{ 'x' not in obj }} {{ 3 not in nums }} {{ 1.0 in nums }} {{ 'a' in ('a', 'b') }}
{{ 1 in 'abc' }}
{{ 1 in 5 }}
{{ 'a' in none }}
{{ not 'a' in 'abc' }} {{ not 1 in nums }} {{ 1 in [1] and 2 in [2] }} {{ 1 in [1] == true }}
{{ 'yes' if 1 else 'no' }} {{ 'yes' if 0 else 'no' }} {{ 'yes' if 0 }}| {{ ('yes' if 0) is defined }} {{ 1 if true else 2 if true else 3 }} {{ 1 if false else 2 if false else 3 }}
{{ ('a' if n > 5 else 'b') ~ 'c' }} {{ 'a' if n > 5 else 'b' ~ 'c' }} {{ missing.x if false else 'ok' }}
{{ 1 if }}
{{ 1 is defined }} {{ missing is defined }} {{ missing is not defined }} {{ n is number }} {{ n is integer }} {{ pi is float }} {{ yes is number }} {{ yes is integer }} {{ yes is boolean }} {{ n is boolean }}
{{ word is string }} {{ n is string }} {{ nil is none }} {{ nil is not none }} {{ missing is none }} {{ obj is mapping }} {{ nums is mapping }} {{ nums is iterable }} {{ word is iterable }} {{ n is iterable }} {{ obj is iterable }} {{ missing is iterable }} {{ nil is iterable }}
{{ nums is sequence }} {{ word is sequence }} {{ obj is sequence }} {{ n is sequence }} {{ missing is sequence }} {{ (1, 2) is sequence }} {{ range(3) is sequence }} {{ obj.values() is sequence }} {{ none is sequence }}
{{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ none is false }} {{ missing is true }}
{{ 3 is odd }} {{ 3 is even }} {{ 0 is even }} {{ -1 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ n is divisibleby 7 }}
{{ 1 is eq 1 }} {{ 1 is equalto(1) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is gt 1 }} {{ 2 is ge 2 }} {{ 2 is le 1 }} {{ 1 is lessthan 2 }} {{ 2 is greaterthan 1 }} {{ 'a' is in 'abc' }} {{ 1 is in nums }} {{ 5 is not in nums }}
{{ 'ABC' is upper }} {{ 'abc' is lower }} {{ 'Abc' is upper }} {{ '1' is lower }} {{ 'éa' is lower }}
{{ nil is sameas none }} {{ n is sameas n }} {{ yes is sameas true }} {{ nums is sameas nums }} {{ [1] is sameas [1] }}
{{ range is callable }} {{ n is callable }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'nope' is test }}
{{ n is nope }}
{{ n is defined and n > 3 }} {{ missing is defined and missing.x }} {{ not n is defined }} {{ n is defined or false }} {{ n is not none and n }}
{{ 1 is odd is even }}
{{ word is string and word is not number }} {{ (n is number) == true }} {{ n + 1 is number }} {{ 'a' ~ 1 is string }}
{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}
{% if n < 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}
{% if n < 5 %}a{% elif n < 3 %}b{% else %}c{% endif %}|{% if none %}x{% endif %}|{% if missing %}x{% endif %}|{% if '' %}x{% endif %}|{% if ' ' %}y{% endif %}|{% if [] %}x{% endif %}|{% if 0.0 %}x{% endif %}
{% if n %}{% if no %}1{% else %}2{% endif %}{% endif %}
{% if n == 7: %}colon{% endif %}
{% if %}x{% endif %}
{% if n %}x
{% endif %}
{% else %}
{% nope %}
{% if n %}{% endfor %}
"""

# Subscripts, slices, attributes.
ITEMS = """
{{ nums[0] }} {{ nums[-1] }} {{ word[0] }} {{ word[-1] }} {{ uni[1] }} {{ uni[-1] }} {{ obj['a'] }} {{ obj.a }} {{ obj["ä"] }} {{ (1, 2)[1] }} {{ nums[true] }}
{{ nums[1:] }} {{ nums[:2] }} {{ nums[1:3] }} {{ nums[-2:] }} {{ nums[:-1] }} {{ nums[:] }} {{ nums[::2] }} {{ nums[::-1] }} {{ nums[3:0:-1] }} {{ nums[5:] }} {{ nums[-9:2] }} {{ nums[2:1] }} {{ nums[none:2] }}
{{ word[1:] }} {{ word[:-1] }} {{ word[::-1] }} {{ word[1:4] }} {{ word[::2] }} {{ word[4:1:-1] }} {{ uni[1:4] }} {{ uni[::-1] }} {{ uni[-3:] }} {{ (1, 2, 3)[1:] }} {{ word[10:] }}| {{ word[-3:-1] }} {{ word[:99] }}
{{ nums[::0] }}
{{ nums['a':] }}
{{ nums[1:2:3:4] }}
{{ obj[1:2] }}|
{{ n[0] }}|{{ n[1:] }}|{{ none[0] }}|
{{ range(10)[2] }} {{ range(10)[2:5] | list }} {{ range(5)[::-1] | list }}
{{ nested.x.y.z }} {{ nested['x']['y']['z'] }} {{ nested.list[0].n }} {{ nested.list[-1]['o'].p }} {{ messages[0].role }} {{ messages[-1]['meta']['n'] }}
{{ obj['items'] }} {{ obj.items is callable }} {{ obj['items'] is string }} {{ messages[3].meta['items'] }} {{ messages[3].meta.items is defined }}
{{ word['upper']() }} {{ word.upper() }} {{ obj['get']('a') }}
{{ {'a': 1}['a'] }} {{ {'a': {'b': 2}}.a.b }} {{ [1, 2, 3][1] }} {{ 'abc'[1] }} {{ {1: 'x'}[1] }} {{ {1: 'x'}[1.0] }} {{ {true: 'x'}[1] }} {{ {none: 'x'}[none] }} {{ {(1, 2): 'x'}[(1, 2)] }}
{{ {[1]: 2} }}
{{ {'a': 1, 'a': 2} }} {{ {'a': 1, 1: 2, 1.0: 3} }}
{{ obj[[1]] }}|{{ obj[{}] }}|
{{ nums[1.0] }}|{{ word['x'] }}|{{ nums[none] }}|
{{ ''[0] }}|{{ [][0] }}|{{ [][-1] is defined }}
{{ messages[loop] }}|
{{ messages[1:][0].content }} {{ messages[::-1][0].content }} {{ (messages | length) - 1 }} {{ messages | length - 1 }}
{{ word.__class__ }}|{{ word._x }}|
"""

# Loops and scope.
LOOPS = """
{% for x in nums %}{{ x }},{% endfor %}
{% for x in nums %}{{ loop.index }}:{{ loop.index0 }}:{{ loop.revindex }}:{{ loop.revindex0 }}:{{ loop.first }}:{{ loop.last }}:{{ loop.length }} {% endfor %}
{% for x in nums %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}
{% for x in nums %}{% if loop.previtem is defined %}{{ loop.previtem }}{% endif %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for x in nums %}{{ loop.changed(x) }} {% endfor %}{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}
{% for x in nums %}{{ loop.depth }}{{ loop.depth0 }}{% for y in [1] %}{{ loop.depth }}{% endfor %}{% endfor %}
{% for x in [] %}x{% else %}none{% endfor %}|{% for x in nums %}{% else %}none{% endfor %}|{% for x in missing %}x{% else %}undef{% endfor %}
{% for x in nums if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }} {% endfor %}
{% for x in nums if x > 9 %}x{% else %}nothing{% endfor %}
{% for x in nums if loop.first %}{{ x }}{% endfor %}
{% for k, v in obj.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in obj | items %}{{ k }}={{ v }};{% endfor %}|{% for k in obj %}{{ k }} {% endfor %}|{% for k in obj.keys() %}{{ k }} {% endfor %}|{% for v in obj.values() %}{{ v }} {% endfor %}
{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }} {% endfor %}{% for (a, b), c in [[[1, 2], 3]] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}
{% for a, b in [1] %}{{ a }}{% endfor %}
{% for c in 'héy' %}{{ c }}.{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(1, 4) %}{{ i }}{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in nums %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in nums %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in nums %}{% for y in nums %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% for x in [1, 2] %}{% if loop.last %}{% break %}{% endif %}{% else %}e{% endfor %}{% for x in [1, 2] %}{% continue %}{% else %}c{% endfor %}
{% for x in [] %}{% break %}{% else %}e{% endfor %}{% for x in [1] %}{% break %}{% else %}e{% endfor %}
{% break %}
{% continue %}
{% for x in nums %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% set a = 1 %}{% for x in nums %}{% set a = a + x %}{{ a }} {% endfor %}{{ a }}
{% set ns = namespace(a=1) %}{% for x in nums %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}
{% set ns = namespace(a=1, b='x') %}{% set ns.c = 5 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns.d }}{{ ns.d is defined }}{{ ns['a'] }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}
{% set ns.x = 1 %}
{% set d = {} %}{% set d.x = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}{% set e = 1, 2 %}{{ e }}
{% set a, b = [1] %}
{% set x %}block {{ n }}{% endset %}[{{ x }}]{% set y | upper %}shout{% endset %}{{ y }}{% set z | replace('a', 'b') | upper | trim %} banana {% endset %}[{{ z }}]
{% if true %}{% set inside = 1 %}{% endif %}{{ inside }}
{% for x in [1] %}{% set inside = 1 %}{% endfor %}{{ inside is defined }}{{ x is defined }}
{% set n = 1 %}{{ n }}{% for x in [1] %}{{ n }}{% set n = 2 %}{{ n }}{% endfor %}{{ n }}
{% for n in [1, 2] %}{{ n }}{% endfor %}{{ n }}
{% for x in [1, 2, 3] %}{{ y is defined }}{% set y = x %}{% endfor %}
{% set messages = messages[1:] %}{{ messages | length }}{% for m in messages %}{{ m.role }}{{ loop.index0 }} {% endfor %}
{% set loop_messages = messages %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ loop.index0 }}{% endif %}{% endfor %}
{% set true = 1 %}
{% for true in [1] %}{% endfor %}
{% for x in nums recursive_typo %}{% endfor %}
{% for x nums %}{% endfor %}
{% for in nums %}{% endfor %}
{% for x in range(100001) %}{% endfor %}
{{ range(100000) | length }} {{ range(3) }} {{ range(1, 5, 2) }} {{ range(0) | list }} {{ range(5, 1) | list }} {{ range(3)[1] }} {{ range(2) == range(2) }}
{{ range(1, 2, 0) }}
{{ range('a') }}
{{ range() }}
{{ dict(a=1, b='x') }} {{ dict({'a': 1}, c=2) }} {{ dict([['k', 'v']]) }} {{ dict() }}
{% set j = joiner() %}{{ j() }}a{{ j() }}b{{ j() }}{% set k = joiner('|') %}{{ k() }}{{ k() }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}
{% set a = 5 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% generation %}x{{ n }}{% set g = 1 %}{% endgeneration %}{{ g is defined }}
{% filter upper %}loud {{ word }}{% endfilter %} {% filter replace('a', 'o') | trim %} bananas {% endfilter %}|{% filter indent(2) %}a
b{% endfilter %}
{% print n %}{% print n, word %}
{% for m in messages %}{{ m.role }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for m in messages if m.role != 'system' %}{{ '<' + m.role + '>' + m.content | trim + '</>' }}{% endfor %}
{% for p in people | sort(attribute='age') %}{{ p.name }} {% endfor %}{% for p in people | sort(attribute='name', reverse=true) %}{{ p.name }} {% endfor %}
{% for age, group in people | groupby('age') %}{{ age }}:{% for p in group %}{{ p.name }},{% endfor %}{% endfor %}
{% for row in nums | batch(2) %}{{ row }}{% endfor %} {% for row in nums | batch(3, 'x') %}{{ row }}{% endfor %} {% for col in nums | slice(3) %}{{ col }}{% endfor %}
{% for x in messages | selectattr('role', 'equalto', 'user') %}{{ x.content }} {% endfor %}
{% set g = nums | select('odd') %}{{ 'truthy' if g else 'falsy' }}{{ g | list }}{{ g | list }}
{% set g = [] | select('odd') %}{{ 'truthy' if g else 'falsy' }}
"""

# Macros.
MACROS = """
{% macro m() %}x{% endmacro %}{{ m() }}{{ m() }}
{% macro m(a, b=2, c='z') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 5) }}{{ m(1, c=3) }}{{ m(a=1, b=0) }}{{ m() }}
{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}{{ m(none) }}{{ m('') }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% set v = 1 %}{% macro m() %}{{ v }}{% endmacro %}{% set v = 2 %}{{ m() }}
{% macro m() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ m() }}
{% macro m() %}{{ x is defined }}{% endmacro %}{% for x in [1] %}{{ m() }}{% endfor %}
{% macro m() %}{% set v = 2 %}{{ v }}{% endmacro %}{% set v = 1 %}{{ m() }}{{ v }}
{% macro outer(x) %}{% macro inner(y) %}{{ x }}{{ y }}{% endmacro %}{{ inner(1) }}{{ inner(2) }}{% endmacro %}{{ outer('o') }}
{% for x in [1, 2] %}{% macro m() %}[{{ x }}]{% endmacro %}{{ m() }}{% endfor %}
{% set ns = namespace(c=0) %}{% macro bump() %}{% set ns.c = ns.c + 1 %}{{ ns.c }}{% endmacro %}{{ bump() }}{{ bump() }}{{ ns.c }}
{% macro m(x) %} {{ x }} {% endmacro %}[{{ m(1) | trim }}][{{ m(2) ~ '!' }}]{{ m(3) is string }}{{ m is callable }}
{% macro m() %}{{ caller() }}{{ caller('x') if false }}{% endmacro %}{% call m() %}body{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}+{{ b }}{% endcall %}
{% macro m(a) %}{{ a.x.y }}{% endmacro %}{{ m({}) }}
{%- macro render(v, depth) -%}{%- if v is mapping -%}{ {%- for k, x in v.items() -%}{{ k }}:{{ render(x, depth + 1) }},{%- endfor -%} }{%- elif v is iterable and v is not string -%}[{%- for x in v -%}{{ render(x, depth + 1) }},{%- endfor -%}]{%- else -%}{{ v }}@{{ depth }}{%- endif -%}{%- endmacro -%}{{ render(nested, 0) }}
{% macro join_all(sep) %}{{ varargs | join(sep) }}{% endmacro %}{{ join_all('-', 1, 2, 3) }}
{% macro m(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ m(*[1, 2]) }} {{ m(**{'a': 3, 'b': 4}) }} {{ m(1, **{'b': 4}) }}
{{ nope() }}
{{ raise_exception('stop here') }}
{% if false %}{{ raise_exception('x') }}{% endif %}ok
"""

# White space control, comments, raw.
SPACE = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}\n  b\n  {% endif %}\nc", "a {% if true %} b {% endif %} c",
    "a\n\n{%- if true -%}\n\n b \n\n{%- endif -%}\n\nc", "  {{ 1 }}  \n  {{- 2 -}}  \n  3", "a\n  {%+ if true %}\nb\n  {%+ endif %}\nc",
    "a\n{% if true +%}\nb\n{% endif +%}\nc", "{# c #}\na", "a {# c #} b", "a\n  {# c #}\n  b", "a {#- c -#} b", "a\n{#- c #}\nb\n{# c -#}\n c",
    "{% raw %}{{ x }}{% if %}{% endraw %}", "a {% raw %} {{ x }} {% endraw %} b", "a\n{% raw %}\n{{ x }}\n{% endraw %}\nb",
    "a {%- raw -%} {{ x }} {%- endraw -%} b", "x\n\n\n", "x\n", "x\r\ny\rz\r\n", "{{ 'a\r\nb' }}", "\n\nx", "{{ 1 }}\n", "{{ 1 }}\n\n",
    "{% if true %}\n\nx{% endif %}\n\n", "  {% set a = 1 %}  \n{{ a }}", "\t{% set a = 1 %}\n\t{{ a }}\n\t", "a{% set b = 1 %}\n  {{ b }}",
    "{%- for x in [1, 2] %}\n{{ x }}\n{%- endfor %}\n", "{% for x in [1, 2] %}\n  {{ x }}\n{% endfor %}\n", "{% for x in [1, 2] -%}\n  {{ x }}\n{%- endfor %}",
    "{{ '{{' }} {{ '}}' }} {{ '{%' }} {{ \"%}\" }} {{ '{#' }}", "{ { } } { % % } # {", "{{ {'a': {'b': 1}}}}", "{{ {'a': 1}['a'] }}", "{{'x'}}{{-'y'-}}{{+1}}",
    "{{ 3 -1 }} {{ 3 - 1 }} {{ 3-1 }}", "a {{- -1 }} b", "a {{ 1 -}} b {{- 2 }} c", "\u00a0{%- if true %}x{% endif %}\u2003{%- if true -%}\u3000y{% endif %}",
    "{# open", "{{", "{%", "{% raw %}x", "{{ 1", "{% if true", "}} %} #}", "{% comment %}", "{%%}", "{{}}", "{%- -%}", "", " ", "\n",
    "{% if true %}{# c #}{% endif %}\n{# d #}\nx", "{%- if true %}  x  {%- endif %}  y", "l1\n    {%- if true %}\n    l2\n    {%- endif %}\nl3",
    "{%if true%}tight{%endif%}", "{%\nif true\n%}multi\nline{%\nendif\n%}", "{{\n1\n+\n1\n}}", "{% set x = 'a' -%}   b", "x {%+ set a = 1 %} y", "{%+ if true +%} z {% endif %}",
    "{# {{ x }} {% if %} #}ok", "{#-#}a{#--#}b", "a  {#+ c +#}\n b", "é{% if true %}\nü\n{% endif %}ö",
]

# Filters.
FILTERS = """
{{ word | upper }} {{ 'ÄÖß ﬁ' | upper }} {{ 'ÀÉ İ ΣΑΣ' | lower }} {{ text | lower }} {{ 'hello wORLD' | capitalize }} {{ "hello world-foo (bar) it's [x]" | title }} {{ 'élan' | capitalize }} {{ 5 | upper }} {{ none | lower }}
[{{ text | trim }}] [{{ '  x\\n\\t' | trim }}] [{{ 'xxaxx' | trim('x') }}] [{{ missing | trim }}] [{{ 5 | trim }}] [{{ '\\u00a0x\\u2003' | trim }}]
{{ word | length }} {{ uni | length }} {{ nums | length }} {{ obj | length }} {{ '' | length }} {{ nums | count }} {{ range(5) | length }} {{ obj.items() | length }}
{{ 5 | length }}
{{ none | length }}
{{ (nums | map('string')) | length }}
{{ nums | join }} {{ nums | join(', ') }} {{ strs | join('-') }} {{ mixed | join('|') }} {{ [] | join(',') }} {{ 'abc' | join('.') }} {{ people | join(', ', attribute='name') }} {{ obj | join(',') }} {{ nums | join(1) }} {{ missing | join }}
{{ nums | first }} {{ nums | last }} {{ word | first }} {{ word | last }} {{ [] | first }}|{{ [] | last }}|{{ obj | first }} {{ missing | first }}|{{ ([] | first) is defined }}
{{ missing | default('d') }} {{ nil | default('d') }} {{ '' | default('d') }}| {{ '' | default('d', true) }} {{ nil | default('d', boolean=true) }} {{ missing | default }}| {{ missing | d(1) }} {{ obj.nope | default([]) }} {{ 0 | default(5, true) }} {{ missing | default(default_value='k') }}
{{ missing.x | default('d') }}
{{ word | replace('l', 'L') }} {{ word | replace('l', 'L', 1) }} {{ word | replace('', '-') }} {{ word | replace('x', 'y') }} {{ 'a.b.c' | replace('.', '') }} {{ 121 | replace(1, 3) }}
{{ nums | list }} {{ word | list }} {{ obj | list }} {{ (1, 2) | list }} {{ missing | list }} {{ range(3) | list }} {{ obj.items() | list }}
{{ 5 | list }}
{{ nums | string }} {{ 1.0 | string }} {{ none | string }} {{ true | string }} {{ 'x' | string }} {{ [1, 'a'] | string | length }} {{ missing | string }}|
{{ '42' | int }} {{ ' 42 ' | int }} {{ '4.7' | int }} {{ 4.7 | int }} {{ -4.7 | int }} {{ 'x' | int }} {{ 'x' | int(9) }} {{ 'x' | int(default=-1) }} {{ true | int }} {{ none | int }} {{ '0x1f' | int(0, 16) }} {{ '1_000' | int }} {{ '-12' | int }} {{ '' | int }} {{ [] | int }} {{ '101' | int(base=2) }}
{{ missing | int }}
{{ '4.5' | float }} {{ 4 | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ '1e3' | float }} {{ ' 2 ' | float }} {{ none | float }} {{ true | float }} {{ '0x1' | float }}
{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 42.55 | round(1, 'floor') }} {{ 42.51 | round(1, 'ceil') }} {{ 2.5 | round }} {{ 3.5 | round }} {{ -2.5 | round }} {{ 7 | round }} {{ 2.675 | round(2) }} {{ 1234.5 | round(-2) }} {{ 42.4 | round | int }}
{{ 'a' | round }}
{{ -5 | abs }} {{ -2.5 | abs }} {{ n | abs }} {{ neg | abs }} {{ true | abs }}
{{ 'a' | abs }}
{{ obj | dictsort }} {{ obj | dictsort(true) }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }} {{ {'b': 1, 'a': 2} | dictsort(false, 'value', true) }}
{{ nums | dictsort }}
{{ obj | items | list }} {{ missing | items | list }} {{ {} | items | list }}
{{ nums | items | list }}
{{ nums | sort }} {{ strs | sort }} {{ strs | sort(case_sensitive=true) }} {{ nums | sort(reverse=true) }} {{ strs | sort(true) }} {{ people | sort(attribute='age,name') | map(attribute='name') | list if false }} {{ 'hello' | sort }} {{ obj | sort }} {{ [] | sort }} {{ [[2, 1], [1, 2]] | sort }} {{ nested.list | sort(attribute='n', reverse=true) | map(attribute='n') | list }}
{{ mixed | sort }}
{{ nums | unique | list }} {{ strs | unique | list }} {{ ['a', 'A', 'b'] | unique | list }} {{ ['a', 'A', 'b'] | unique(true) | list }} {{ people | unique(attribute='age') | map(attribute='name') | list }}
{{ nums | min }} {{ nums | max }} {{ strs | min }} {{ strs | max }} {{ [] | min }}| {{ ['b', 'A'] | min(case_sensitive=true) }} {{ (people | max(attribute='age')).name }} {{ (people | min(attribute='age')).name }} {{ word | max }}
{{ [1, 'a'] | min }}
{{ nums | sum }} {{ [] | sum }} {{ [1.5, 2] | sum }} {{ people | sum(attribute='age') }} {{ nums | sum(start=10) }}
{{ strs | sum }}
{{ nums | reverse | list }} {{ word | reverse }} {{ uni | reverse }} {{ (1, 2) | reverse | list }}
{{ strs | map('upper') | list }} {{ people | map(attribute='name') | join(',') }} {{ people | map(attribute='nope') | list }} {{ people | map(attribute='nope', default='-') | list }} {{ nested.list | map(attribute='o.p') | list if false }} {{ [[1, 2], [3]] | map('first') | list }} {{ strs | map('replace', 'a', 'z') | list }} {{ [[1, 2]] | map(attribute=1) | list }} {{ [[1, 2]] | map(attribute='0') | list }} {{ strs | map('default', 'x') | list }} {{ nums | map('string') | join }}
{{ nums | map('nope') | list }}
{{ nums | map | list }}
{{ nums | select('odd') | list }} {{ nums | select('gt', 2) | list }} {{ nums | reject('odd') | list }} {{ mixed | select | list }} {{ mixed | reject | list }} {{ mixed | select('string') | list }} {{ nums | select('in', [1, 2]) | list }} {{ nums | select('==', 3) | list }} {{ [0, 1, missing] | select('defined') | list }} {{ nums | reject('equalto', 3) | list }} {{ nums | select('divisibleby', 3) | list }}
{{ nums | select('nope') | list }}
{{ none | select('odd') | list }} {{ none | map('upper') | list }} {{ 0 | selectattr('x') | list }} {{ missing | rejectattr('x') | list }} {{ [] | map | list }}
{{ people | selectattr('tags') | list }} {{ people | selectattr('tags', 'defined') | map(attribute='name') | list }} {{ people | rejectattr('age', 'eq', 31) | map(attribute='name') | list }} {{ people | selectattr('age', 'lt', 30) | map(attribute='name') | list }} {{ messages | selectattr('role', '==', 'user') | list | length }} {{ messages | rejectattr('tool_calls') | list | length }} {{ messages | selectattr('meta.n', 'eq', 2) | list | length if false }}
{{ obj | attr('a') }}| {{ word | attr('upper') is callable }} {{ (word | attr('upper'))() }}
{{ html | escape }} {{ html | e }} {{ 5 | escape }} {{ html | safe }} {{ 5 | safe }} {{ word | safe }}
{{ lines | indent }}|{{ lines | indent(2) }}|{{ lines | indent(2, true) }}|{{ lines | indent(2, blank=true) }}|{{ lines | indent('> ') }}|{{ '' | indent }}|{{ 'a' | indent(2, first=true) }}|{{ 'a\\nb' | indent(width=1) }}
{{ '%s-%s' | format(1, 'a') }} {{ '%(x)s' | format(x=5) }} {{ '%d%%' | format(50) }} {{ '%05.1f|%5s|%-5s|' | format(3.14159, 'ab', 'cd') }} {{ '%x %X %o' | format(255, 255, 8) }} {{ '%+d % d' | format(5, 5) }} {{ '%r' | format('q') }}
{{ '%s' | format }}
{{ '%d' | format('a') }}
{{ 'hello world, how are you' | truncate(10) }} {{ 'hello world' | truncate(8, true, '', 0) }} {{ 'hello world' | truncate(20) }} {{ 'hello world foo' | truncate(9, true) }} {{ 'hello world foo bar' | truncate(12, false, '..', 0) }}
{{ 'one two  three' | wordcount }} {{ '' | wordcount }} {{ "it's ok" | wordcount }} [{{ 'x' | center(5) }}] [{{ 'xy' | center(5) }}]
{{ '{"a": [1, 2.5, null, true, "x"]}' | from_json }} {{ ('{"a": {"b": 1}}' | from_json).a.b }} {{ '[1]' | from_json | length }} {{ '"s"' | from_json }} {{ '5' | from_json + 1 }}
{{ 'nope' | from_json }}
{{ n | nope }}
{{ n | upper | lower | title }} {{ word | upper | replace('L', 'l') | length }} {{ nums | map('string') | map('upper') | join(',') | length }}
{{ word | upper() }} {{ word | default() }} {{ nums | join(d='-') }}
{{ word | upper(1) }}
{{ word | replace('a') }}
{{ word | join(nope=1) }}
"""

# JSON.
JSON = """
{{ obj | tojson }} {{ nested | tojson }} {{ mixed | tojson }} {{ messages | tojson }}
{{ quote | tojson }} {{ html | tojson }} {{ uni | tojson }} {{ uni | tojson(ensure_ascii=true) }} {{ '\\u007f' | tojson(ensure_ascii=true) }} {{ '/' | tojson }}
{{ 1 | tojson }} {{ 1.0 | tojson }} {{ 1e22 | tojson }} {{ tiny | tojson }} {{ true | tojson }} {{ none | tojson }} {{ 'x' | tojson }} {{ [] | tojson }} {{ {} | tojson }} {{ (1, 2) | tojson }} {{ big | tojson }} {{ -0.0 | tojson }} {{ (1e308 * 10) | tojson }} {{ (-1e308 * 10) | tojson }}
{{ obj | tojson(indent=2) }}
{{ nested | tojson(indent=4) }}
{{ {'a': [], 'b': {}} | tojson(indent=2) }} {{ [1] | tojson(indent=0) }} {{ [1, [2]] | tojson(indent='--') }}
{{ obj | tojson(separators=(',', ':')) }} {{ obj | tojson(sort_keys=true) }} {{ nested | tojson(indent=1, separators=(', ', ' = ')) }} {{ obj | tojson(indent=none) }}
{{ {1: 'a', 1.5: 'b', true: 'c', none: 'd'} | tojson }}
{{ missing | tojson }}
{{ [missing] | tojson }}
{{ {(1, 2): 3} | tojson }}
{{ (nums | map('string')) | tojson }}
{{ range(3) | tojson }}
{{ namespace() | tojson }}
{{ messages[0] | tojson | length }} {{ obj | tojson | upper }} {{ obj | tojson | safe }} {{ ('a' ~ obj | tojson) }}
{{ {'role': 'x', 'n': n, 'l': nums[:1]} | tojson }} {{ [word] | tojson | replace('"', "'") }}
"""

# Methods.
METHODS = """
{{ csv.split(',') }} {{ csv.split(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'abc'.split('x') }} {{ ''.split(',') }} {{ ''.split() }} {{ 'a--b--c'.split('--')[-1] }} {{ csv.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'aXbXc'.split('X', maxsplit=1) }} {{ 'a\\nb'.split('\\n') }} {{ csv.rsplit(',') }} {{ ' a b '.rsplit() }}
{{ csv.split('') }}
{{ csv.split(1) }}
[{{ text.strip() }}] [{{ text.lstrip() }}] [{{ text.rstrip() }}] [{{ 'xxaxx'.strip('x') }}] [{{ 'abcXcba'.strip('abc') }}] [{{ '\\n\\na\\n'.lstrip('\\n') }}] [{{ 'a\\n'.rstrip('\\n') }}] [{{ ''.strip() }}] [{{ 'äxä'.strip('ä') }}] [{{ 'x'.strip(none) }}]
{{ word.startswith('he') }} {{ word.startswith('x') }} {{ word.endswith('lo') }} {{ word.startswith(('x', 'h')) }} {{ word.endswith('') }} {{ ''.startswith('a') }} {{ messages[2].content.startswith('<think>') }}
{{ word.startswith(1) }}
{{ word.upper() }} {{ 'ABC'.lower() }} {{ 'they\\'re bill'.title() }} {{ 'hELLO'.capitalize() }} {{ word.replace('l', 'L') }} {{ word.replace('l', '', 1) }} {{ word.replace('', '.') }} {{ 'aaa'.replace('a', 'aa') }}
{{ word.replace(1, 2) }}
{{ word.find('l') }} {{ word.find('z') }} {{ word.rfind('l') }} {{ uni.find('w') }} {{ word.index('e') }} {{ word.count('l') }} {{ word.count('') }} {{ 'aaaa'.count('aa') }}
{{ word.index('z') }}
{{ ','.join(strs) }} {{ ''.join(['a', 'b']) }} {{ '-'.join('abc') }} {{ ', '.join(obj) }}
{{ ','.join(nums) }}
{{ lines.splitlines() }} {{ 'a\\n'.splitlines(true) }} {{ ''.splitlines() }}
{{ '123'.isdigit() }} {{ '12a'.isdigit() }} {{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ ' \\t'.isspace() }} {{ ''.isdigit() }} {{ 'ABC'.isupper() }} {{ 'abc'.islower() }} {{ 'é'.isalpha() }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ 'x'.removesuffix('') }}
{{ 'ab'.ljust(5) }}| {{ 'ab'.rjust(5, '.') }} {{ '42'.zfill(5) }} {{ '-42'.zfill(5) }}
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format('a', 'b') }} {{ '{x}-{y}'.format(x=1, y=2) }} {{ '{{}} {}'.format(5) }} {{ '{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c') }} {{ '{:05d} {:.2f} {:,} {:x}'.format(42, 3.14159, 1234567, 255) }} {{ '{0.role}'.format(messages[0]) if false }} {{ '{0[role]}'.format(messages[0]) }} {{ '{!r}'.format('q') }} {{ '{:*^7}'.format('x') }} {{ '{:+d}'.format(3) }} {{ '{:.3}'.format('abcdef') }} {{ '{:%}'.format(0.5) }}
{{ '{}'.format() }}
{{ '{'.format(1) }}
{{ '%s' % 'a' }} {{ '%s-%d' % ('a', 5) }} {{ '%5.2f' % 3.14159 }} {{ '%(a)s' % obj }} {{ '%%' % () }} {{ '%03d' % 7 }} {{ '%s' % nil }} {{ '%s' % [1] if false }} {{ '%.3s' % 'abcdef' }} {{ '%e' % 12345.678 }} {{ '%g' % 0.0001 }}
{{ '%s %s' % 'a' }}
{{ '%s' % (1, 2) }}
{{ '%q' % 1 }}
{{ obj.get('a') }} {{ obj.get('zz') }} {{ obj.get('zz', 'd') }} {{ obj.keys() | list }} {{ obj.values() | list }} {{ obj.items() }} {{ none_obj.keys() }} {{ none_obj.values() }} {{ obj.copy() == obj }} {{ obj.get('b') + 1 }}
{{ obj.get() }}
{{ nums.index(2) }} {{ nums.count(3) }} {{ (1, 2, 1).count(1) }}
{{ nums.index(99) }}
{{ nums.nope() }}
{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}|{{ m.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}{% endif %}{% endfor %}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%A, %B %d, %Y %H:%M:%S %I %p %j %y %e %a %%') }} {{ strftime_now('%-d %-m') }} {{ strftime_now('') }}|
"""

# Rules that only show in combination.
MIXED = """
{{ (1, 2) | join(',') }} {{ [1, 2] | join(',') ~ '!' }} {{ -1 | abs }} {{ 2 * 3 | string }} {{ '1' + 2 | string }} {{ 'a' | upper + 'b' }} {{ not [] | length }} {{ 1 + 1 | string | length }}
{{ messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | first }}
{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' and not ns.found %}{% set ns.found = true %}{{ m.content }}{% endif %}{% endfor %}{{ ns.found }}
{% set sys = messages[0].content if messages[0].role == 'system' else '' %}{{ sys }}
{% for m in messages[::-1] %}{% set i = (messages | length - 1) - loop.index0 %}{{ i }}{{ m.role[0] }} {% endfor %}
{% if messages[0]['role'] == 'system' and messages[0]['content'] is string %}{{ messages[0]['content'] | trim }}{% endif %}
{% if tools is defined and tools is not none %}t{% else %}no tools{% endif %}{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools }}
{% if tools %}x{% endif %}{{ (tools or []) | length }}{{ 'y' if tools is not defined or not tools }}
{% set content = messages[1]['content'] %}{% if content is string %}{{ content }}{% else %}{% for c in content %}{{ c.text }}{% endfor %}{% endif %}
{% for k, v in {'a': 1, 'b': [1, 2]}.items() %}{{ k }}: {{ v if v is number else v | tojson }}{{ '\\n' if not loop.last }}{% endfor %}
{{ ['a', 'b'][loop_index | default(1)] }} {{ {'a': 'A'}.get('a', none) }}
{{ [x for x in nums] }}
{{ lambda x: x }}
{% import 'x' as y %}
{% include 'x' %}
{% extends 'x' %}
{{ nums if nums is iterable and nums is not string and nums is not mapping }}
{{ word.upper().lower().title()[::-1][1:3] }} {{ (word ~ '!').upper() }} {{ ('a' if true else 'b').upper() }} {{ [1, 2, 3][-1:][0] }} {{ {'f': nums}.f[0] }}
{% set x = [1, 2] %}{% set y = x + [3] %}{{ x }}{{ y }}{% set z = {'a': x} %}{{ z.a is sameas x }}
{% set items = [] %}{% for x in nums %}{% set items = items + [x * 2] %}{% endfor %}{{ items }}
{% set ns = namespace(l=[]) %}{% for x in nums %}{% set ns.l = ns.l + [x * 2] %}{% endfor %}{{ ns.l }}{{ ns.l | sum }}
{{ 'a\\nb' | replace('\\n', '\\\\n') }} {{ "\\\\" | length }} {{ '\\'' ~ "\\"" }}
{{ ((1 + 2) * (3 - (4 // 2))) ** 2 }} {{ 1 if (2 if 0 else 0) else 3 }} {{ [[[[1]]]][0][0][0][0] }}
{% set a %}{% set b %}inner{% endset %}{{ b }}-outer{% endset %}{{ a }}{{ b is defined }}
{% for i in range(3) %}{% for j in range(i) %}{{ loop.index }}{{ i }}{{ j }} {% else %}e{% endfor %}{{ loop.index }};{% endfor %}
{{ loop }}|{{ loop is defined }}
{{ namespace is defined }}{{ range is defined }}
{% set range = 5 %}{{ range }}
{{ true.x }}|{{ obj.a.b }}|{{ obj.a.b.c is defined }}
{{ 1 if n is defined else undefined_thing.x }} {{ [1, 2, 3] | length > 2 }} {{ nums | length == 4 and word | length == 5 }}
"""

# Templates that change lists and dicts, which Hugging Face's sandbox forbids but other engines allow.
MUTABLE_TEXT = """
{% set l = [] %}{% for x in nums %}{% set _ = l.append(x) %}{% endfor %}{{ l }} {{ l.pop() }} {{ l.pop(0) }} {{ l }}
{% set l = [1] %}{{ l.append(2) }}{{ l.extend([3, 4]) }}{{ l.insert(0, 0) }}{{ l }}{{ l.reverse() }}{{ l }}{{ l.insert(-1, 9) }}{{ l.insert(99, 8) }}{{ l }}
{% set d = {'a': 1} %}{{ d.update({'b': 2}) }}{{ d.update(c=3) }}{{ d }}{{ d.pop('a') }}{{ d.pop('z', 'none') }}{{ d.setdefault('q', 5) }}{{ d.setdefault('q', 6) }}{{ d }}
{% set l = [] %}{{ l.pop() }}
{% set d = {} %}{{ d.pop('a') }}
{% set l = [1, 2] %}{% for x in l %}{% if l | length < 5 %}{% set _ = l.append(x) %}{% endif %}{{ loop.index }}{% break %}{% endfor %}{{ l }}
"""


def lines(text):
    """One template per line; \\\\n in the source above arrives here as \\n for jinja2 to read."""
    out = []
    for line in text.strip("\n").split("\n"):
        # A line that opens a list or filter block goes on in the next one.
        if out and out[-1].count("{{") + out[-1].count("{% filter") > out[-1].count("}}") + out[-1].count("endfilter") \
                and (line.startswith("2]") or line.startswith("b{%")):
            out[-1] += "\n" + line
        else:
            out.append(line)
    return out


SNIPPETS = [s for text in (VALUES, LOGIC, ITEMS, LOOPS, MACROS, FILTERS, JSON, METHODS, MIXED) for s in lines(text)] + SPACE
MUTABLE = lines(MUTABLE_TEXT)
