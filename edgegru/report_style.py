"""How a quantization report looks: light and dark, on paper, and on a phone."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --quiet: #5b6675; --page: #fff; --line: #dde2e8; --soft: #f4f6f8;
  --first: #9db4cf; --second: #2466b0; --mark: #c8531c; --warn: #fff3e6; --good: #1d7a46; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --quiet: #9aa5b3; --page: #14181e; --line: #333b46; --soft: #1d232b;
    --first: #5b7494; --second: #6ea8ec; --mark: #f08a4b; --warn: #3a2818; --good: #5cc98a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
section:first-of-type h2 { margin-top: 0; }
p { margin: .6rem 0; }
code, pre { font: .85em/1.5 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .75rem 1rem; border-radius: .4rem; overflow-x: auto; margin: .6rem 0; }
.quiet { color: var(--quiet); font-size: .85rem; }
.advice { background: var(--warn); border-left: .25rem solid var(--mark); padding: .6rem .9rem; }
.good { color: var(--good); font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .75rem; margin: .75rem 0; }
.facts div { background: var(--soft); border-radius: .4rem; padding: .6rem .9rem; }
.facts dt, .facts span { color: var(--quiet); font-size: .85rem; }
.facts dd { margin: 0; }
.facts b, .facts span { display: block; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
th.number { white-space: normal; }
.number { text-align: right; }
.bars { width: 40%; min-width: 8rem; padding: .3rem 0; }
.bars i { display: block; height: .5rem; min-width: 1px; }
.bar0 { background: var(--first); }
.bar1, .bars i:only-child { background: var(--second); }
.legend { color: var(--quiet); font-size: .85rem; }
.legend i { display: inline-block; width: 1.2rem; height: .5rem; margin-left: .75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: 1rem; margin: .75rem 0; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: .8rem; color: var(--quiet); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
svg { display: block; width: 100%; height: auto; }
svg path { fill: var(--second); }
svg text { fill: var(--quiet); font-size: 11px; }
svg .axis { stroke: var(--quiet); }
svg .range { stroke: var(--mark); stroke-dasharray: 4 3; }
img { display: block; width: 100%; min-width: 36rem; background: #fff; }
@media (max-width: 36rem) {
  th, td { padding-right: .5rem; }
  .aside { display: none; }
  .bars { min-width: 5.5rem; }
  .figures { grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
  svg text { font-size: 13px; }
}
@media print {
  :root { font-size: 11px; color-scheme: light; --ink: #000; --quiet: #444; --page: #fff; --line: #ccc; --soft: #f4f4f4;
    --first: #9db4cf; --second: #2466b0; --mark: #c8531c; --warn: #fff3e6; --good: #1d7a46; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .wide { overflow: visible; }
  .figures { grid-template-columns: repeat(4, 1fr); }
  tr, figure, img { break-inside: avoid; }
  h2 { break-after: avoid; }
  img { min-width: 0; }
}
"""
