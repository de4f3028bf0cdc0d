"""The style sheet of the report page: light and dark on the screen, one A4 sheet in print."""

from __future__ import annotations

STYLE = """
:root{--paper:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;--fill:#eef1f4;--bar:#3b6ea8;--hot:#b3261e;
--warn:#fff3cd;--warnink:#5c4400;color-scheme:light dark}
@media screen and (prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e7eaee;--soft:#9aa5b1;--line:#343b43;
--fill:#22282f;--bar:#6ea3df;--hot:#ff8a80;--warn:#4a3b0a;--warnink:#ffe9a8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:14px/1.4 system-ui,"Segoe UI",Roboto,"DejaVu Sans",
sans-serif}
main{max-width:800px;margin:0 auto;padding:16px}
.banner{margin:0 0 12px;padding:8px 12px;background:var(--warn);color:var(--warnink);border-left:4px solid currentColor;
font-weight:600}
h1{font-size:1.45em;margin:0 0 4px}
h2{font-size:1.05em;margin:14px 0 4px}
p{margin:4px 0}
dl.study{display:flex;flex-wrap:wrap;gap:2px 20px;margin:4px 0}
dl.study div{max-width:100%}
dt{display:inline;color:var(--soft)}
dd{display:inline;margin:0 0 0 6px;overflow-wrap:anywhere}
div.wide{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:3px 8px 3px 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere}
thead th{color:var(--soft);font-weight:500;white-space:nowrap}
td{white-space:nowrap}
td.words{white-space:normal}
tr.suspected th,tr.suspected .value,tr.suspected .words{color:var(--hot);font-weight:700}
tr.suspected .bar i{background:var(--hot)}
.bar{display:inline-block;position:relative;width:110px;height:10px;margin-right:8px;background:var(--fill);
border:1px solid var(--line);vertical-align:middle}
.bar i{display:block;height:100%;background:var(--bar)}
.bar b{position:absolute;top:-3px;bottom:-3px;width:0;border-left:2px solid var(--ink)}
.none{color:var(--soft)}
.images{display:flex;gap:8px}
figure{flex:1 1 0;min-width:0;margin:0}
figure img{display:block;width:100%;height:auto;background:#000}
figcaption{color:var(--soft);font-size:.9em}
ul{margin:4px 0;padding-left:18px}
.small{font-size:.92em}
code{font-size:.92em;white-space:nowrap}
@media (max-width:560px){.images{display:block}figure{margin-bottom:8px}.bar{width:60px}th,td{padding-right:5px}}
@page{size:A4;margin:11mm}
@media print{
th,td{padding-top:2px;padding-bottom:2px}
body{font-size:8.2pt;line-height:1.2}
main{max-width:none;padding:0}
div.wide{overflow:visible}
h2{margin:7px 0 2px}
.banner,.bar,.bar i,figure img{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.images{justify-content:center}
figure img{height:54mm;object-fit:contain}
section,figure,tr{break-inside:avoid}
}
"""
