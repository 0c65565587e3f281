// Runs a script of a case with node-postgres: clients.js < SCRIPT. It may await, and has `connect()`, `pg` and `show(…)`.
const fs = require("fs");
const pg = require("pg");

const file = (name) => (process.env[name] ? fs.readFileSync(process.env[name]) : undefined);
const settings = {
  host: "localhost",
  user: process.env.PGUSER,
  database: process.env.PGDATABASE,
  ssl: { ca: file("PGSSLROOTCERT"), cert: file("PGSSLCERT"), key: file("PGSSLKEY"), servername: "localhost" },
};

async function connect(more) {
  const client = new pg.Client({ ...settings, ...more });
  client.on("error", (error) => show("the connection:", error.message));
  await client.connect();
  return client;
}

function show(...values) {
  console.log(...values.map((value) => (typeof value === "string" ? value : JSON.stringify(value))));
}

const AsyncFunction = (async () => {}).constructor;
new AsyncFunction("pg", "settings", "connect", "show", fs.readFileSync(0, "utf8"))(pg, settings, connect, show).catch((error) => {
  show(error.name, error.code ?? "", error.message);
  process.exitCode = 1;
});
