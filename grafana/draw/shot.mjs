// shot.mjs ADDRESS OUT.png [full]: a picture of the page, and on standard output what it reports.
import { chromium } from 'playwright-core';

const [address, picture, full] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1920, height: 1080 } });
const trouble = [];
page.on('pageerror', (error) => trouble.push(String(error.stack).slice(0, 600)));
await page.goto(address);
await page.waitForFunction('window.report !== undefined', null, { timeout: 60000 });
const report = await page.evaluate('window.report');
await page.screenshot({ path: picture, fullPage: full === 'full' });
await browser.close();
console.log(JSON.stringify({ ...report, errors: [...report.errors, ...trouble] }, null, 1));
process.exitCode = report.errors.length || trouble.length ? 1 : 0;
