select * from adapters where method = $id;
