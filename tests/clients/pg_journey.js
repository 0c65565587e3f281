// node-postgres: prepared statements, a pool, LISTEN, errors.
const fs = require("fs");
const { Pool, Client } = require("pg");

const settings = {
  host: "localhost",
  port: Number(process.env.PGPORT),
  user: "app_rw",
  database: "orders",
  password: process.env.PGPASSWORD,
  ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT), servername: "localhost" },
};

async function main() {
  const pool = new Pool({ ...settings, max: 4 });
  await pool.query("create table t (id int, name text, data jsonb)");
  for (let i = 0; i < 100; i++) {
    await pool.query({ name: "insert", text: "insert into t values ($1, $2, $3)", values: [i, "n" + i, { i }] });
  }
  const all = await Promise.all(Array.from({ length: 40 }, (_, i) => pool.query("select data from t where id = $1", [i])));
  if (all.some((result, i) => result.rows[0].data.i !== i)) throw new Error("a wrong answer");
  await pool.query("select 1 / 0").then(
    () => { throw new Error("no error came"); },
    (error) => { if (error.code !== "22012") throw error; },
  );
  const listener = new Client(settings);
  await listener.connect();
  const heard = new Promise((resolve) => listener.on("notification", (message) => resolve(message.payload)));
  await listener.query("listen news");
  await pool.query("select pg_notify('news', 'hello')");
  if ((await heard) !== "hello") throw new Error("a wrong notification");
  await listener.end();
  await pool.end();
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });
