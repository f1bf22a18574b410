select * from synthetic_images where image_id = $id;
