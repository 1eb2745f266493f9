"""The page's style: one column on a telephone, two on a screen, light or dark as the reader's system is."""

CSS = """
:root { --page: #fff; --text: #1b1f24; --quiet: #5b6470; --line: #dde1e6; --box: #f6f7f9; --accent: #2b6cb0; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --text: #e4e7eb; --quiet: #9aa4b0; --line: #2e343c; --box: #1c2026; --accent: #6fb1f0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 16px 48px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 28px; margin: 0; }
h2 { font-size: 20px; margin: 48px 0 16px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 24px 0 8px; }
p { margin: 0 0 12px; max-width: 70ch; overflow-wrap: anywhere; }
header p, footer p, figcaption, small { color: var(--quiet); }
header p { margin: 4px 0 0; }
footer { margin-top: 48px; font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 0 0 20px; }
.tile { background: var(--box); border-radius: 8px; padding: 12px 14px; }
.tile dt { font-size: 13px; color: var(--quiet); }
.tile dd { margin: 0; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile small { display: block; font-size: 13px; font-weight: 400; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 0 36px; margin: 0;
  font-size: 14px; font-variant-numeric: tabular-nums; }
.facts div { display: flex; justify-content: space-between; gap: 12px; padding: 5px 0;
  border-bottom: 1px solid var(--line); }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; text-align: right; overflow-wrap: anywhere; min-width: 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 28px 36px; }
.pictures.large { grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 12px 36px;
  align-items: start; }
.beside > * { min-width: 0; }
figure { margin: 0; min-width: 0; max-width: 560px; }
figcaption { font-size: 13px; margin-top: 6px; }
figcaption.title { color: var(--text); font-size: 15px; font-weight: 600; margin: 0 0 6px; }
figure svg { display: block; width: 100%; height: auto; color: var(--text); }
figure svg text { font-family: inherit !important; }
.scroll { overflow-x: auto; margin: 0 0 16px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 20px 5px 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap;
  vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--quiet); font-weight: 500; font-size: 13px; white-space: normal; vertical-align: bottom; }
tbody th { font-weight: 500; }
.number { text-align: right; }
.words { white-space: normal; min-width: 22ch; overflow-wrap: anywhere; }
details { margin: 16px 0; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; margin-bottom: 8px; }
pre { background: var(--box); border-radius: 8px; padding: 14px 16px; margin: 0 0 16px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
#recipe > pre { columns: 3 260px; }
@media print { details { display: block; } }
"""
