select image_id, stratum, file, terms from synthetic_images where method = $id order by stratum, "index";
