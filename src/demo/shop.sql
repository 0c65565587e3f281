-- A small shop: what the demo's engineers work on.
create table customers (
    id integer primary key generated always as identity,
    name text not null,
    email text not null unique,
    city text not null
);
create table items (
    id integer primary key generated always as identity,
    name text not null,
    price numeric(10, 2) not null
);
create table orders (
    id integer primary key generated always as identity,
    customer integer not null references customers,
    placed_at timestamptz not null,
    status text not null
);
create table order_items (
    "order" integer not null references orders,
    item integer not null references items,
    quantity integer not null,
    primary key ("order", item)
);

insert into customers (name, email, city)
select name || ' ' || n, lower(name) || n || '@example.com', city
from generate_series(1, 40) as n,
    lateral (select (array['Carol', 'Dave', 'Erin', 'Frank', 'Grace'])[1 + n % 5] as name) as names,
    lateral (select (array['Oslo', 'Lisbon', 'Vienna'])[1 + n % 3] as city) as cities;

insert into items (name, price)
values ('lantern', 24.50), ('rope, 20 m', 17.00), ('padlock', 9.90), ('door knocker', 38.00),
    ('hinge', 4.25), ('key ring', 2.10), ('bell', 55.00), ('bolt', 3.30);

insert into orders (customer, placed_at, status)
select 1 + n % 40, timestamptz '2026-01-01 08:00+00' + n * interval '7 hours',
    (array['open', 'paid', 'sent'])[1 + n % 3]
from generate_series(1, 200) as n;

insert into order_items
select n, 1 + (n + k) % 8, 1 + (n * k) % 3
from generate_series(1, 200) as n, generate_series(1, 2) as k;

grant select on all tables in schema public to app_ro;
grant select, insert, update, delete on all tables in schema public to app_rw;
