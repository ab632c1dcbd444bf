[[ template "further_class" (list . 2) ]]
