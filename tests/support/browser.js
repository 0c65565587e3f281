// A real browser with a virtual authenticator, told what to do line by line: each line that comes in
// is one act as JSON, each line that goes out says how the page stands then, or what went wrong.
const readline = require("readline");
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const KEY = {
  protocol: "ctap2",
  transport: "internal",
  hasResidentKey: true,
  hasUserVerification: true,
  isUserVerified: true,
  automaticPresenceSimulation: true,
};

async function main() {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  let key;

  const acts = {
    open: ({ url }) => page.goto(url),
    fill: ({ label, text }) => page.getByLabel(label).fill(text),
    // What follows is another page, or the word of the script that none will come.
    async press({ button, nth }) {
      await page.evaluate(() => {
        for (const former of document.querySelectorAll("[role=alert]")) former.hidden = true;
      });
      const loaded = page.waitForEvent("load");
      const alerted = page.locator("[role=alert]:visible").first().waitFor();
      // One of them never comes.
      for (const either of [loaded, alerted]) either.catch(() => {});
      await page.getByRole("button", { name: button, exact: true }).nth(nth ?? 0).click();
      await Promise.any([loaded, alerted]);
    },
    async key({ verified }) {
      if (key) await devtools.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: key });
      const options = { ...KEY, isUserVerified: verified };
      key = (await devtools.send("WebAuthn.addVirtualAuthenticator", { options })).authenticatorId;
    },
    verified: ({ verified }) =>
      devtools.send("WebAuthn.setUserVerified", { authenticatorId: key, isUserVerified: verified }),
    // As a page of somebody's would, that asks the authenticator for less.
    careless: () =>
      page.evaluate(() => {
        const form = document.querySelector("form[data-webauthn]");
        const options = { ...JSON.parse(form.dataset.options), userVerification: "discouraged" };
        form.dataset.options = JSON.stringify(options);
      }),
    forget: () => context.clearCookies(),
    look: () => null,
    size: ({ width, height, dark }) =>
      Promise.all([
        page.setViewportSize({ width, height }),
        page.emulateMedia({ colorScheme: dark ? "dark" : "light" }),
      ]),
    picture: ({ path }) => page.screenshot({ path, fullPage: true }),
  };

  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { act, ...rest } = JSON.parse(line);
    try {
      await acts[act](rest);
      const text = await page.locator("body").innerText();
      console.log(JSON.stringify({ url: page.url(), title: await page.title(), text }));
    } catch (error) {
      console.log(JSON.stringify({ failed: `${act}: ${error.message}` }));
    }
  }
  await browser.close();
}

main().catch((error) => {
  console.log(JSON.stringify({ failed: error.message }));
  process.exit(1);
});
