[[ template "further_class" (list . 0) ]]
