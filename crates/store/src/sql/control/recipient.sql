-- NEWEST_LIST
SELECT version, made_at, actor, origin, entries, added, removed, changed, renamed
FROM recipient_list WHERE tenant = ?1 AND domain = ?2 ORDER BY version DESC LIMIT 1;
-- LISTS
SELECT version, made_at, actor, origin, entries, added, removed, changed, renamed
FROM recipient_list WHERE tenant = ?1 AND domain = ?2 ORDER BY version DESC;
-- LOOK_UP
SELECT until_version, since, ended_at, enabled FROM recipient
WHERE tenant = ?1 AND domain = ?2 AND local = ?3 ORDER BY from_version DESC LIMIT 1;
-- PAGE
SELECT local, alias_of, display_name, aliases, group_names, manager, language, enabled FROM recipient
WHERE tenant = ?1 AND domain = ?2 AND local > ?3 AND until_version IS NULL AND alias_of IS NULL ORDER BY local LIMIT ?4;
-- AT_VERSION
SELECT local, alias_of, display_name, aliases, group_names, manager, language, enabled FROM recipient
WHERE tenant = ?1 AND domain = ?2 AND from_version <= ?3 AND (until_version IS NULL OR until_version > ?3) ORDER BY local;
-- COUNT_TENANT
SELECT COUNT(*) FROM recipient WHERE tenant = ?1 AND until_version IS NULL AND alias_of IS NULL;
-- INSERT_LIST
INSERT INTO recipient_list (tenant, domain, version, made_at, actor, origin, entries, added, removed, changed, renamed)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11);
-- INSERT_ROW
INSERT INTO recipient (tenant, domain, local, from_version, since, alias_of, display_name, aliases, group_names, manager, language, enabled)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12);
-- INSERT_ROWS_16
INSERT INTO recipient (tenant, domain, local, from_version, since, alias_of, display_name, aliases, group_names, manager, language, enabled)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12),
       (?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24),
       (?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36),
       (?37, ?38, ?39, ?40, ?41, ?42, ?43, ?44, ?45, ?46, ?47, ?48),
       (?49, ?50, ?51, ?52, ?53, ?54, ?55, ?56, ?57, ?58, ?59, ?60),
       (?61, ?62, ?63, ?64, ?65, ?66, ?67, ?68, ?69, ?70, ?71, ?72),
       (?73, ?74, ?75, ?76, ?77, ?78, ?79, ?80, ?81, ?82, ?83, ?84),
       (?85, ?86, ?87, ?88, ?89, ?90, ?91, ?92, ?93, ?94, ?95, ?96),
       (?97, ?98, ?99, ?100, ?101, ?102, ?103, ?104, ?105, ?106, ?107, ?108),
       (?109, ?110, ?111, ?112, ?113, ?114, ?115, ?116, ?117, ?118, ?119, ?120),
       (?121, ?122, ?123, ?124, ?125, ?126, ?127, ?128, ?129, ?130, ?131, ?132),
       (?133, ?134, ?135, ?136, ?137, ?138, ?139, ?140, ?141, ?142, ?143, ?144),
       (?145, ?146, ?147, ?148, ?149, ?150, ?151, ?152, ?153, ?154, ?155, ?156),
       (?157, ?158, ?159, ?160, ?161, ?162, ?163, ?164, ?165, ?166, ?167, ?168),
       (?169, ?170, ?171, ?172, ?173, ?174, ?175, ?176, ?177, ?178, ?179, ?180),
       (?181, ?182, ?183, ?184, ?185, ?186, ?187, ?188, ?189, ?190, ?191, ?192);
-- END_ROW
UPDATE recipient SET until_version = ?4, ended_at = ?5 WHERE tenant = ?1 AND domain = ?2 AND local = ?3 AND until_version IS NULL;
-- FORGET_LISTS
DELETE FROM recipient_list WHERE tenant = ?1 AND domain = ?2 AND version < ?3;
-- FORGET_ROWS
DELETE FROM recipient WHERE tenant = ?1 AND domain = ?2 AND until_version <= ?3 AND ended_at < ?4;
-- PURGE_LISTS
DELETE FROM recipient_list WHERE tenant = ?1 AND domain = ?2;
-- PURGE_ROWS
DELETE FROM recipient WHERE tenant = ?1 AND domain = ?2;
