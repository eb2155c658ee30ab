"""How the page of a running stream looks: light and dark, on a screen and on a phone."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --quiet: #5b6675; --page: #fff; --line: #dde2e8; --soft: #f4f6f8;
  --first: #9db4cf; --second: #2466b0; --mark: #c8531c; --warn: #fff3e6; --good: #1d7a46; --fill: #2466b033; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --quiet: #9aa5b3; --page: #14181e; --line: #333b46; --soft: #1d232b;
    --first: #5b7494; --second: #6ea8ec; --mark: #f08a4b; --warn: #3a2818; --good: #5cc98a; --fill: #6ea8ec38; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
header { border-bottom: 1px solid var(--line); }
header > div, main { max-width: 80rem; margin: 0 auto; padding: .75rem 1.25rem; }
header > div { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1rem; }
h1 { font-size: 1.25rem; line-height: 1.3; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
h2 small { font-weight: 400; margin-left: .5rem; }
small, .quiet { color: var(--quiet); font-size: .85rem; }
#state { margin-left: auto; padding: .1rem .7rem; border-radius: 1rem; background: var(--soft); font-size: .875rem;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
#state::before { content: ""; display: inline-block; width: .55rem; height: .55rem; border-radius: 50%;
  margin-right: .5rem; background: var(--quiet); }
#state.live::before { background: var(--good); }
#state.silent, #state.lost { background: var(--warn); }
#state.silent::before, #state.lost::before { background: var(--mark); }
main { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.25rem 2rem; padding-bottom: 3rem; }
.whole { grid-column: 1 / -1; }
#sensors { display: flex; flex-wrap: wrap; gap: .4rem; max-height: 11rem; overflow-y: auto; }
#sensors button { font: inherit; font-size: .875rem; color: inherit; background: var(--soft); cursor: pointer;
  border: 1px solid transparent; border-radius: .4rem; padding: .25rem .7rem; text-align: left; max-width: 100%;
  overflow-wrap: anywhere; }
#sensors button[aria-pressed=true] { border-color: var(--second); }
#sensors button:hover { border-color: var(--first); }
#sensors b { color: var(--second); margin-left: .25rem; }
#sensors b:empty { display: none; }
#decisions { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1.5rem; min-height: 3rem; }
#decisions span { font-size: 2rem; line-height: 1.5; font-weight: 600; color: var(--second); overflow-wrap: anywhere; }
#decisions span small { font-size: 1rem; margin-left: .5rem; font-variant-numeric: tabular-nums; }
#decisions em { font-size: 1.25rem; font-style: normal; color: var(--quiet); }
.strip { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr) 5.5rem; gap: 0 .75rem; align-items: center;
  padding: .3rem 0; }
.strip > span { overflow-wrap: anywhere; font-size: .875rem; line-height: 1.3; }
.strip > output { text-align: right; font-variant-numeric: tabular-nums; font-size: .875rem; white-space: nowrap; }
.strip.on > span, .strip.on > output { color: var(--second); font-weight: 600; }
.strip output small { margin-left: .25rem; }
canvas { display: block; width: 100%; height: 3.5rem; }
.strip.low canvas { height: 2.75rem; }
.axis { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr) 5.5rem; gap: 0 .75rem; color: var(--quiet);
  font-size: .75rem; }
.axis div { grid-column: 2; display: flex; justify-content: space-between; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; margin: 0 0 .75rem; }
.facts div { background: var(--soft); border-radius: .4rem; padding: .45rem .8rem; }
.facts dt { color: var(--quiet); font-size: .8rem; }
.facts dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
.list { max-height: 22rem; overflow-y: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
th { color: var(--quiet); font-weight: 600; position: sticky; top: 0; background: var(--page); }
td { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
th:last-child, td:last-child, th:nth-last-child(2):has(+ [hidden]) { padding-right: .25rem; }
.number { text-align: right; white-space: nowrap; }
tr.zero td { color: var(--quiet); }
td b { color: var(--second); }
@media (max-width: 48rem) {
  main { grid-template-columns: minmax(0, 1fr); }
  header > div, main { padding-left: 1rem; padding-right: 1rem; }
  .strip { grid-template-columns: minmax(0, 1fr) auto; }
  .strip canvas { grid-column: 1 / -1; grid-row: 2; }
  .axis { display: block; }
}
"""
