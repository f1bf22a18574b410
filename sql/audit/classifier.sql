select * from classifiers where concat_ws('~', arm, learner) = $id;
