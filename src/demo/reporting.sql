-- A second database on the same server.
create table monthly_sales (month date primary key, orders integer not null, total numeric(12, 2) not null);

insert into monthly_sales
select (date '2026-01-01' + n * interval '1 month')::date, 90 + n * 7, 2400 + n * 310.5
from generate_series(0, 11) as n;

grant select on all tables in schema public to app_ro, app_rw;
