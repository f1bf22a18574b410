create or replace temp view ids as
select unnest([method, artefact_id, adapter_id]) as id, method as key, 'adapter' as what from adapters;
