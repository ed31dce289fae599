"""The report's style: that of the service's page, for screens of 375 px and more, and for paper."""

STYLE = """
:root { --paper: #fbfaf7; --ink: #1d1b18; --muted: #67625a; --line: #e3dfd6; --edge: #8b857b;
  --accent: #0d6b5e;
  --alarm: #b02a1b; --warn: #8a5a00;
  --sans: ui-sans-serif, system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #141312; --ink: #ece8e0; --muted: #a39d92;
  --line: #33302c; --edge: #767067; --accent: #6cc5b2; --alarm: #ff8d7c; --warn: #e0b25a; } }
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); font: 1rem/1.5 var(--sans);
  -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem;
  overflow-wrap: anywhere; }
h1 { font-size: clamp(2rem, 7vw, 3.25rem); line-height: 1.05; letter-spacing: -.035em; margin: 0; }
h2 { font-size: 1.375rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 1rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.5rem; }
p { max-width: 42rem; }
.muted, small, figcaption { color: var(--muted); }
small, figcaption, .note { font-size: .8125rem; }
.note { border-left: 3px solid var(--warn); padding-left: .75rem; }
.alarm { color: var(--alarm); font-weight: 600; }
.warn { color: var(--warn); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--muted); font-weight: 500; font-size: .8125rem; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; padding-right: 0; padding-left: .75rem; white-space: nowrap; }
figure { margin: 0 0 1.5rem; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; }
svg.chart { width: 100%; }
svg.square { width: 16.25rem; }
svg.bars { width: 11.25rem; }
svg text { font: 11px var(--sans); fill: var(--muted); }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; }
.grid { stroke: var(--line); }
.ideal { stroke: var(--edge); stroke-dasharray: 4 4; }
.whisker { stroke: var(--accent); }
.dot { fill: var(--accent); }
.line, .estimate { fill: none; stroke: var(--accent); stroke-width: 1.75; }
.estimate { stroke: var(--edge); stroke-dasharray: 5 4; }
.band { fill: var(--accent); opacity: .16; }
.now { fill: var(--accent); opacity: .5; }
.trained { fill: none; stroke: var(--ink); stroke-width: .75; }
.stage { fill: var(--accent); opacity: .3; }
.stage.odd { opacity: .5; }
.firing { fill: var(--alarm); opacity: .45; }
svg text.on { fill: var(--ink); }
svg text.line-label { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg text.mark { font-size: 14px; fill: var(--ink); }
.line.older { stroke: var(--edge); }
.dot.older { fill: var(--edge); }
.history { list-style: none; margin: 0; padding: 0; font-size: .875rem; }
.history li { display: grid; grid-template-columns: 9.5rem 1fr; padding: .35rem 0;
  border-bottom: 1px solid var(--line); }
.history time { color: var(--muted); font-variant-numeric: tabular-nums; }
@media (max-width: 36rem) {
  .history li { grid-template-columns: 1fr; }
  table { font-size: .8125rem; }
  th, td { padding-right: .5rem; }
  svg.bars { width: 8rem; }
  svg.chart text { font-size: 20px; }
  .number { white-space: normal; }
}
@media print {
  html { background: none; font-size: 10pt; }
  body { max-width: none; padding: 0; }
  section, figure, tr, li { break-inside: avoid; }
  section:has(table, ol) { break-inside: auto; }
  .scroll { overflow: visible; }
}
"""
